#!/usr/bin/env python3
"""Asks real servers which names before a parenthesis are never those of stored functions.

    functions.py MARIADB MYSQL > ../src/sql/classify/functions.txt

Each argument is a command that runs statements from standard input as the servers' own client does
(`mariadb -uroot -S /path`); the account must be allowed to create a schema. Candidates are both
servers' keywords, help topics and function lists, and every word in capitals in their programs.
A name is asked for by preparing `SELECT name(...)` with none to four arguments: a server that looks
for a stored function of that name says error 1305 or 1630. Nothing is executed. Of names that are
only refused as bad syntax, those are kept that stand before parentheses in queries.
"""

import re
import shlex
import subprocess
import sys

SHAPES = ["()", "(1)", "(1, 2)", "(1, 2, 3)", "(1, 2, 3, 4)", "(*)", "(1 AS CHAR)", "(DAY FROM 1)"]
SHAPES += ["(1 IN 2)", "(1, INTERVAL 1 DAY)", "(DAY, 1, 2)", "(1 USING utf8mb4)", "(1) OVER ()"]
SHAPES += ["() OVER (ORDER BY 1)", "(DATE, 1)", "(a)", "(1) WITHIN GROUP (ORDER BY 1) OVER ()"]
SHAPES += ["(\"{}\", \"$\")", "(1, 2) OVER (ORDER BY 1)", "(1, 2 AS CHAR)", "(1, 2 RETURNING CHAR)"]

# Keywords that are followed by something in parentheses and are no functions.
KEYWORDS = set("""
ALL AND ANY AS BETWEEN BINARY BY CASE CHAR CHARACTER COLUMNS DEC DECIMAL DISTINCT DISTINCTROW DIV
DOUBLE ELSE EXCEPT EXISTS FLOAT FOR FROM HAVING IN INDEX INTERSECT INTERVAL IS JOIN JSON_TABLE KEY
LATERAL LIKE LIMIT MATCH AGAINST MOD NOT NCHAR NUMERIC OF OFFSET ON OR OVER PARTITION PATH REGEXP
RLIKE ROW SELECT SET SOME STRAIGHT_JOIN THEN UNION USING VALUES VALUE VARCHAR WHEN WHERE WITH XOR
DATETIME TIME TIMESTAMP DATE YEAR ESCAPE ROWS RANGE GROUP RECURSIVE TABLE SQL_NO_CACHE
SQL_SMALL_RESULT SQL_BIG_RESULT SQL_BUFFER_RESULT HIGH_PRIORITY NATIONAL
""".split())

# MySQL had them up to 9.5; they are functions of a component now, which a stored one may replace.
OLDER = ["MD5", "SHA", "SHA1"]

# Only views of the server itself may call them.
OWN = re.compile("INTERNAL_|GET_DD_|GET_JDV_|CAN_ACCESS_|REMOVE_DD_|CONVERT_(CPU|INTERVAL)|IS_VISIBLE_DD")
MODES = ["", "ORACLE", "ANSI"]


def run(client, text):
    # --force: go on behind an error; -vvv is not needed, errors name their line.
    command = shlex.split(client) + ["--force", "--batch", "--skip-column-names"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, errors="replace")
    return done.stdout, done.stderr


def candidates(client, maria):
    text = "SELECT word FROM information_schema.keywords; SELECT name FROM mysql.help_topic;"
    if maria:
        text += "SELECT function FROM information_schema.sql_functions;"
    words = set(re.findall(r"[A-Za-z][A-Za-z0-9_]*", run(client, text)[0]))
    pid, _ = run(client, "SELECT @@pid_file")
    with open("/proc/%s/maps" % open(pid.strip()).read().strip()) as maps:
        # The server's own program is the first file that is mapped; a loader may come before it.
        files = [line.split()[-1] for line in maps if "/" in line]
    program = next(file for file in files if re.search(r"/(mysqld|mariadbd)$", file))
    with open(program, "rb") as file:
        found = re.findall(rb"(?<=\0)[A-Z][A-Z0-9_]{1,40}(?=\0)", file.read())
    return {word.upper() for word in words} | {word.decode() for word in found}


def asked(client, names, blank, modes):
    """Those of the names that a server looks for as stored functions, and bad syntax."""
    lines = ["CREATE DATABASE IF NOT EXISTS weir_functions;", "USE weir_functions;"]
    where = {}
    for mode in modes:
        lines.append("SET sql_mode = '%s';" % mode)
        for name in sorted(names):
            for shape in SHAPES:
                lines.append("PREPARE s FROM 'SELECT %s%s%s';" % (name, blank, shape))
                where[len(lines)] = name
    lines.append("DROP DATABASE weir_functions;")
    errors = run(client, "\n".join(lines) + "\n")[1]
    stored, refused = set(), {}
    for error, line in re.findall(r"ERROR (\d+) \(\w+\) at line (\d+)", errors):
        name = where[int(line)]
        if error in ("1305", "1630"):
            stored.add(name)
        elif error == "1064":
            refused[name] = refused.get(name, 0) + 1
    tried = len(SHAPES) * len(modes)
    return stored, {name for name, count in refused.items() if count == tried}


def main():
    maria, mysql = sys.argv[1:]
    names = candidates(maria, True) | candidates(mysql, False)
    names = {name for name in names if not OWN.match(name) and len(name) < 30}
    sys.stderr.write("%d candidates\n" % len(names))
    rows = {}
    for key, client, modes in [("m", mysql, ["", "ANSI"]), ("a", maria, MODES)]:
        own = names - asked(client, names, "", ["ANSI"])[0]
        stored, refused = asked(client, own, "", modes)
        own = {name for name in own - stored if name in KEYWORDS or name not in refused}
        spaced = own - asked(client, own, " ", [""])[0]
        for name in own:
            rows.setdefault(name, "")
            rows[name] += key
        for name in spaced:
            rows[name] += key.upper()
    for name in OLDER:
        rows[name] += "o"
    version = lambda client: run(client, "SELECT VERSION()")[0].strip()
    print("# Names before a parenthesis that are no stored function's, and on which server.")
    print("# m: MySQL, a: MariaDB; in capitals: also with a blank before the parenthesis.")
    print("# o: MySQL before 9.6, blank or none.")
    print("# Made by engine/testdata/functions.py of MySQL %s and MariaDB %s."
          % (version(mysql), version(maria)))
    for name, servers in sorted(rows.items()):
        print(name, "".join(sorted(servers, key="mMaAo".index)))


main()
