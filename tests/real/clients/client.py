"""What Python's MySQL libraries see of a server, as lines of JSON.

Purpose: one script for PyMySQL and mysql-connector-python; the same lines for the same sights, so
that a run through Weir can be compared with a run without.
Never: print what differs from run to run: ids, times, ports.
"""

import argparse
import datetime
import decimal
import hashlib
import json
import sys


def say(check, **seen):
    print(json.dumps({"check": check, **seen}, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, datetime.timedelta):
        seconds = abs(int(value.total_seconds()))
        sign = "-" if value.days < 0 else ""
        return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if isinstance(value, (datetime.date, decimal.Decimal)):
        return str(value)
    if isinstance(value, int) and abs(value) > 2**53:
        # As languages without large integers have it.
        return str(value)
    return value


def rows(found):
    return [[plain(value) for value in row] for row in found]


class PyMySql:
    """PyMySQL: text protocol only."""

    def __init__(self, args):
        import pymysql

        self.error = pymysql.err.MySQLError
        self.options = {"local_infile": True, "charset": "utf8mb4"}
        if args.tls:
            self.options["ssl"] = {"ca": args.tls}
        else:
            self.options["ssl_disabled"] = True
        self.library = pymysql
        self.args = args

    def connect(self, password):
        from pymysql.constants import CLIENT

        args = self.args
        return self.library.connect(
            host=args.host, port=args.port, user=args.user, password=password,
            database=args.database, client_flag=CLIENT.MULTI_STATEMENTS, **self.options,
        )

    def code(self, error):
        return error.args[0]

    def text(self, error):
        return error.args[1]

    def results(self, conn, sql):
        """All results of a statement of several: rows, or nothing where there are none."""
        with conn.cursor() as cursor:
            cursor.execute(sql)
            sets = [rows(cursor.fetchall())]
            while cursor.nextset():
                sets.append(rows(cursor.fetchall()))
        return sets

    def prepared(self, conn, sql, many):
        with conn.cursor() as cursor:
            return [rows(self.run(cursor, sql, one)) for one in many]

    @staticmethod
    def run(cursor, sql, values):
        cursor.execute(sql, values)
        return cursor.fetchall()

    def reset(self, conn):
        # It knows no reset; a ping is what pools use.
        conn.ping(reconnect=False)


class Connector:
    """mysql-connector-python in pure Python: with prepared statements and compression."""

    def __init__(self, args):
        import mysql.connector

        self.error = mysql.connector.Error
        self.library = mysql.connector
        self.args = args

    def connect(self, password):
        args = self.args
        options = {"ssl_ca": args.tls, "ssl_verify_cert": True} if args.tls else {"ssl_disabled": True}
        return self.library.connect(
            host=args.host, port=args.port, user=args.user, password=password,
            database=args.database, charset="utf8mb4", collation="utf8mb4_general_ci",
            allow_local_infile=True, use_pure=True, autocommit=False, compress=args.compress,
            **options,
        )

    def code(self, error):
        return error.errno

    def text(self, error):
        return error.msg

    def results(self, conn, sql):
        cursor = conn.cursor()
        cursor.execute(sql)
        sets = [rows(cursor.fetchall())]
        while cursor.nextset():
            sets.append(rows(cursor.fetchall()))
        cursor.close()
        return sets

    def prepared(self, conn, sql, many):
        cursor = conn.cursor(prepared=True)
        found = []
        for one in many:
            cursor.execute(sql, one)
            found.append(rows(cursor.fetchall()) if cursor.with_rows else [])
        cursor.close()
        return found

    def reset(self, conn):
        conn.cmd_reset_connection()


def execute(conn, sql, values=None):
    """Runs a statement without rows; how many rows it changed."""
    cursor = conn.cursor()
    cursor.execute(sql, values) if values is not None else cursor.execute(sql)
    count = cursor.rowcount
    cursor.close()
    return count


def first(conn, sql):
    cursor = conn.cursor()
    cursor.execute(sql)
    row = cursor.fetchone()
    cursor.fetchall()
    cursor.close()
    return [plain(value) for value in row]


def check_login(client, args):
    for password in ["wrong", ""]:
        try:
            client.connect(password)
            say("refused", code=0)
        except client.error as error:
            text = client.text(error)
            say("refused", code=client.code(error), text=text[text.index("Access denied"):])
    conn = client.connect(args.password)
    say("login", seen=first(conn, "SELECT DATABASE(), USER()"))
    return conn


def check_charset(conn):
    execute(conn, "CREATE TABLE words (id INT PRIMARY KEY, w VARCHAR(50)) CHARACTER SET utf8mb4")
    execute(conn, "INSERT INTO words VALUES (1, %s)", ("wörd 🎉 漢字",))
    say("charset", seen=first(conn, "SELECT w, HEX(w), CHAR_LENGTH(w) FROM words"))


def check_prepared(client, conn):
    execute(conn, "CREATE TABLE kinds (id INT PRIMARY KEY, w VARCHAR(20), f DOUBLE)")
    client.prepared(conn, "INSERT INTO kinds VALUES (%s, %s, %s)", [(n, f"w{n}", n + 0.5) for n in range(50)])
    client.prepared(conn, "INSERT INTO kinds VALUES (%s, %s, %s)", [(50, None, None)])
    found = client.prepared(conn, "SELECT id, w, f FROM kinds WHERE id >= %s ORDER BY id", [(48,), (100,)])
    say("prepared", seen=found)


def check_transactions(conn):
    count = "SELECT COUNT(*) FROM words"
    seen = []
    conn.commit()
    execute(conn, "INSERT INTO words VALUES (2, 'two')")
    seen += first(conn, count)
    conn.rollback()
    seen += first(conn, count)
    execute(conn, "INSERT INTO words VALUES (3, 'three')")
    conn.commit()
    conn.rollback()
    seen += first(conn, count)
    say("transactions", seen=seen)


def check_results(client, conn):
    say("results", seen=client.results(conn, "SELECT 1; DO 1; SELECT 'two', 2; SELECT 3 WHERE 1 = 0"))
    execute(conn, "CREATE PROCEDURE twice(IN a INT, OUT b INT) BEGIN SET b = a * 2; SELECT a; END")
    say("call", seen=client.results(conn, "CALL twice(21, @b); SELECT @b"))


def check_files(conn, args):
    execute(conn, "CREATE TABLE loaded (a INT, w VARCHAR(40))")
    count = execute(conn, f"LOAD DATA LOCAL INFILE '{args.file}' INTO TABLE loaded")
    say("file", seen=[count, *map(int, first(conn, "SELECT COUNT(*), SUM(a) FROM loaded"))])


def check_blob(conn, args):
    pieces = 4 if args.small else 20 * 1024
    value = b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() * 32 for n in range(pieces))
    execute(conn, "CREATE TABLE blobs (b LONGBLOB)")
    execute(conn, "INSERT INTO blobs VALUES (%s)", (value,))
    cursor = conn.cursor()
    cursor.execute("SELECT b FROM blobs")
    found = bytes(cursor.fetchall()[0][0])
    cursor.close()
    say("blob", length=len(found), same=found == value, sha256=hashlib.sha256(found).hexdigest())


def check_errors(client, conn):
    codes = []
    for sql in [
        "SELECT * FROM absent",
        "INSERT INTO words VALUES (1, 'again')",
        "nonsense",
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own', MYSQL_ERRNO = 5555",
    ]:
        try:
            execute(conn, sql)
            codes.append(0)
        except client.error as error:
            codes.append(client.code(error))
    say("errors", seen=codes)


def check_warnings(conn):
    execute(conn, "CREATE TABLE small (a TINYINT)")
    execute(conn, "INSERT IGNORE INTO small VALUES (1000)")
    say("warnings", seen=first(conn, "SHOW WARNINGS"))


def check_kinds(conn):
    sql = (
        "SELECT CAST('2024-02-29' AS DATE), CAST(1.25 AS DECIMAL(5,2)), NULL, "
        "18446744073709551615, CAST('-10:11:12' AS TIME), REPEAT('x', 300) = REPEAT('x', 300)"
    )
    say("kinds", seen=first(conn, sql))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=["pymysql", "connector"])
    for name in ["host", "user", "password", "database", "file"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", help="certificate to trust")
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--small", action="store_true", help="no values of many MiB")
    args = parser.parse_args()
    client = {"pymysql": PyMySql, "connector": Connector}[args.library](args)
    conn = check_login(client, args)
    check_charset(conn)
    check_prepared(client, conn)
    check_transactions(conn)
    check_results(client, conn)
    check_files(conn, args)
    check_blob(conn, args)
    check_errors(client, conn)
    check_warnings(conn)
    check_kinds(conn)
    client.reset(conn)
    say("after", seen=first(conn, "SELECT 'after'"))
    conn.close()
    sys.stdout.flush()


main()
