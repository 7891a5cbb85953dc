#!/usr/bin/env python3
"""Records what a real MariaDB answers, byte for byte.

Starts a private server in a temporary folder, talks to it over raw sockets, and writes each reply
to testdata/<version>/<name>.bin, with a table of them in testdata/<version>/index.txt.

    python3 engine/testdata/capture.py                # needs mariadb-install-db and mariadbd
    python3 engine/testdata/capture.py --port 13399 --keep

Only the standard library is used. A reply is taken to be complete when the server has been silent
for a while: this script must not share Weir's idea of where a reply ends.
"""

import argparse
import getpass
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

LONG_PASSWORD, FOUND_ROWS, LONG_FLAG, CONNECT_WITH_DB = 1, 2, 4, 8
LOCAL_FILES, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION = 1 << 7, 1 << 9, 1 << 13, 1 << 15
MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS = 1 << 16, 1 << 17, 1 << 18
PLUGIN_AUTH, CONNECT_ATTRS, SESSION_TRACK, DEPRECATE_EOF = 1 << 19, 1 << 20, 1 << 23, 1 << 24

BASE = (
    LONG_PASSWORD | LONG_FLAG | LOCAL_FILES | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION
    | MULTI_STATEMENTS | MULTI_RESULTS | PS_MULTI_RESULTS | PLUGIN_AUTH
)

# name suffix: (DEPRECATE_EOF, SESSION_TRACK)
DIALECTS = {"new": (True, True), "old": (False, False), "mixed": (False, True)}

QUERY, INIT_DB, FIELD_LIST, REFRESH, STATISTICS, PROCESS_INFO = 0x03, 0x02, 0x04, 0x07, 0x09, 0x0A
PROCESS_KILL, DEBUG, PING, CHANGE_USER, PREPARE, EXECUTE = 0x0C, 0x0D, 0x0E, 0x11, 0x16, 0x17
STMT_RESET, SET_OPTION, FETCH, RESET_CONNECTION = 0x1A, 0x1B, 0x1C, 0x1F

SILENCE_SECONDS = 0.15


def frames_in(data):
    """Number of whole frames; everything recorded must consist of whole frames."""
    count = at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 3], "little")
        at += 4 + length
        count += 1
    assert at == len(data), "recorded bytes end inside a frame"
    return count


def native(password, nonce):
    """mysql_native_password: SHA1(p) XOR SHA1(nonce + SHA1(SHA1(p)))."""
    if not password:
        return b""
    one = hashlib.sha1(password).digest()
    mask = hashlib.sha1(nonce + hashlib.sha1(one).digest()).digest()
    return bytes(a ^ b for a, b in zip(one, mask))


class Connection:
    """A client that keeps every byte it reads."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.greeting = self.read_reply()

    def read_reply(self):
        """Bytes until the server falls silent; waits longer for the first one."""
        data = b""
        self.socket.settimeout(5)
        try:
            while chunk := self.socket.recv(1 << 16):
                data += chunk
                self.socket.settimeout(SILENCE_SECONDS)
        except TimeoutError:
            pass
        except ConnectionResetError:
            pass
        return data

    def send(self, sequence, payload):
        packet = len(payload).to_bytes(3, "little") + bytes([sequence]) + payload
        self.socket.sendall(packet)
        return packet

    def nonce(self):
        payload = self.greeting[4:]
        at = payload.index(b"\0", 1) + 5
        return payload[at : at + 8] + payload[at + 27 : at + 39]

    def login(self, dialect, user=b"root", password=b"", database=None,
              plugin=b"mysql_native_password", attributes=None):
        """Sends the login request; returns it and what came back."""
        deprecate_eof, track = DIALECTS[dialect]
        flags = BASE | (DEPRECATE_EOF if deprecate_eof else 0) | (SESSION_TRACK if track else 0)
        flags |= CONNECT_WITH_DB if database is not None else 0
        flags |= CONNECT_ATTRS if attributes is not None else 0
        answer = native(password, self.nonce())
        payload = struct.pack("<IIB23x", flags, 1 << 24, 45) + user + b"\0"
        payload += bytes([len(answer)]) + answer
        payload += database + b"\0" if database is not None else b""
        payload += plugin + b"\0"
        if attributes is not None:
            payload += bytes([len(attributes)]) + attributes
        request = self.send(1, payload)
        return request, self.read_reply()

    def command(self, code, argument=b""):
        self.send(0, bytes([code]) + argument)
        return self.read_reply()

    def close(self):
        self.socket.close()


class Recorder:
    """Writes replies and their row of the table."""

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)

    def keep(self, name, data, dialect=None, command=None, sender="server"):
        assert data, f"{name}: no reply"
        with open(os.path.join(self.folder, name + ".bin"), "wb") as file:
            file.write(data)
        deprecate_eof, track = DIALECTS.get(dialect, (False, False))
        self.rows.append((
            name, sender, "-" if command is None else f"{command:02x}",
            "yes" if deprecate_eof else "no", "yes" if track else "no", str(frames_in(data)),
        ))

    def write_index(self, version, notes):
        head = ("name", "from", "command", "deprecate_eof", "session_track", "frames")
        widths = [max(len(row[i]) for row in self.rows + [head]) for i in range(len(head))]
        with open(os.path.join(self.folder, "index.txt"), "w") as file:
            file.write(f"# Recorded by testdata/capture.py from {version}.\n")
            file.writelines(f"# {line}\n" if line else "#\n" for line in notes)
            for row in ["# " + head[0], *head[1:]], *self.rows:
                file.write("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() + "\n")


def record_logins(port, recorder):
    """Greeting, the ways a login ends, and an authentication switch."""
    attributes = b"\x0c_client_name\x0acapture.py"
    conn = Connection(port)
    recorder.keep("greeting", conn.greeting)
    request, reply = conn.login("new", b"weir", b"secret", b"weir", attributes=attributes)
    recorder.keep("login", request, "new", sender="client")
    recorder.keep("login-ok", reply, "new")
    conn.close()

    conn = Connection(port)
    request, reply = conn.login("new", b"weir", b"", plugin=b"caching_sha2_password")
    recorder.keep("login-other-plugin", request, "new", sender="client")
    recorder.keep("login-switch", reply, "new")
    nonce = reply[4:].split(b"\0", 1)[1][:20]
    recorder.keep("login-switch-answer", conn.send(3, native(b"secret", nonce)), "new",
                  sender="client")
    recorder.keep("login-switch-ok", conn.read_reply(), "new")
    conn.close()

    for name, user, password, database in (
        ("login-denied", b"weir", b"wrong", None),
        ("login-unknown-user", b"nobody-here", b"wrong", None),
        ("login-no-grant", b"weir", b"secret", b"nowhere"),
        ("login-unknown-database", b"root", b"", b"nowhere"),
    ):
        conn = Connection(port)
        recorder.keep(name, conn.login("new", user, password, database)[1], "new")
        conn.close()


def record_too_many(port, recorder, admin):
    """The error in place of a greeting, before any capability is known, and the one after a login."""
    admin.command(QUERY, b"SET GLOBAL max_connections = 10")
    conns = []
    for _ in range(9):
        conns.append(Connection(port))
        conns[-1].login("new")
    # The eleventh connection is kept for administrators: others are turned away after the login.
    conns.append(Connection(port))
    recorder.keep("login-too-many", conns[-1].login("new", b"weir", b"secret")[1], "new")
    conns.append(Connection(port))
    conns[-1].login("new")
    conns.append(Connection(port))
    assert conns[-1].greeting[4:5] == b"\xff", conns[-1].greeting
    recorder.keep("greeting-too-many", conns[-1].greeting)
    for conn in conns:
        conn.close()
    time.sleep(0.5)
    admin.command(QUERY, b"SET GLOBAL max_connections = 100")


SETUP = [
    b"CREATE DATABASE weir",
    b"CREATE USER weir@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('secret')",
    b"GRANT ALL ON weir.* TO weir@'%'",
    b"USE weir",
    b"CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(40), at DATETIME NULL)",
    b"INSERT INTO t VALUES (1,'one','2026-01-02 03:04:05'),(2,'two',NULL),(3,'',NULL),"
    b"(4,'four',NULL),(5,'five',NULL)",
    b"CREATE TABLE w (id INT PRIMARY KEY AUTO_INCREMENT, v INT)",
    b"CREATE PROCEDURE two() BEGIN SELECT id FROM t WHERE id < 3; INSERT INTO w(v) VALUES (9);"
    b" SELECT name FROM t WHERE id = 1; END",
    b"CREATE PROCEDURE silent() BEGIN DO 1; END",
    b"CREATE PROCEDURE outs(IN a INT, OUT b INT) BEGIN SELECT a AS got; SET b = a + 1; END",
    b"CREATE FUNCTION picky(n INT) RETURNS INT DETERMINISTIC BEGIN IF n = 3 THEN"
    b" SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'three is too many'; END IF; RETURN n; END",
]

# name, command, argument; in this order, on one connection per dialect.
EXCHANGES = [
    ("set-trackers", QUERY, b"SET SESSION session_track_system_variables='autocommit,"
     b"character_set_client,character_set_connection,character_set_results,sql_mode,last_gtid',"
     b" session_track_transaction_info='CHARACTERISTICS', session_track_state_change=ON"),
    ("ping", PING, b""),
    ("set-names", QUERY, b"SET NAMES latin1"),
    ("set-names-utf8mb4", QUERY, b"SET NAMES utf8mb4"),
    ("use", QUERY, b"USE weir"),
    ("init-db", INIT_DB, b"weir"),
    ("init-db-unknown", INIT_DB, b"nowhere"),
    ("insert", QUERY, b"INSERT INTO w(v) VALUES (1)"),
    ("insert-many", QUERY, b"INSERT INTO w(v) VALUES (1),(2),(3)"),
    ("update-info", QUERY, b"UPDATE w SET v = v + 1 WHERE id <= 2"),
    ("insert-error", QUERY, b"INSERT INTO w(id, v) VALUES (1, 1)"),
    ("begin", QUERY, b"START TRANSACTION READ WRITE"),
    ("begin-insert", QUERY, b"INSERT INTO w(v) VALUES (5)"),
    ("begin-select", QUERY, b"SELECT id FROM t WHERE id = 1"),
    ("commit", QUERY, b"COMMIT"),
    ("select-one", QUERY, b"SELECT 1"),
    ("select-empty", QUERY, b"SELECT id, name FROM t WHERE id > 100"),
    ("select-rows", QUERY, b"SELECT id, name, at FROM t ORDER BY id"),
    ("select-null-first", QUERY, b"SELECT NULL, 1"),
    ("select-empty-string", QUERY, b"SELECT ''"),
    ("select-long-value", QUERY, b"SELECT REPEAT('x', 300)"),
    ("select-large-value", QUERY, b"SELECT REPEAT('x', 70000), 1"),
    ("select-many-columns", QUERY, b"SELECT " + b",".join(b"%d" % n for n in range(260))),
    ("select-user-variable", QUERY, b"SELECT @b := 5"),
    ("select-warning", QUERY, b"SELECT 1/0"),
    ("select-into", QUERY, b"SELECT 5 INTO @v"),
    ("select-error", QUERY, b"SELECT nothing FROM nowhere"),
    ("select-error-after-rows", QUERY, b"SELECT picky(id) FROM t"),
    ("syntax-error", QUERY, b"SELEC 1"),
    ("multi", QUERY, b"INSERT INTO w(v) VALUES (7); SELECT 1; SELECT id FROM t WHERE id < 3;"
     b" INSERT INTO w(v) VALUES (8)"),
    ("multi-error", QUERY, b"SELECT 1; SELECT nothing; SELECT 2"),
    ("call-two", QUERY, b"CALL two()"),
    ("call-silent", QUERY, b"CALL silent()"),
    ("explain", QUERY, b"EXPLAIN SELECT * FROM t"),
    ("show-warnings", QUERY, b"SHOW WARNINGS"),
    ("empty-query", QUERY, b""),
    ("lock-tables", QUERY, b"LOCK TABLES t READ"),
    ("unlock-tables", QUERY, b"UNLOCK TABLES"),
    ("create-temporary", QUERY, b"CREATE TEMPORARY TABLE tmp (a INT)"),
    ("field-list", FIELD_LIST, b"t\0"),
    ("field-list-wild", FIELD_LIST, b"t\0na%"),
    ("field-list-none", FIELD_LIST, b"t\0zzz"),
    ("field-list-unknown", FIELD_LIST, b"nowhere\0"),
    ("statistics", STATISTICS, b""),
    ("process-info", PROCESS_INFO, b""),
    ("process-kill-unknown", PROCESS_KILL, struct.pack("<I", 99999999)),
    ("debug", DEBUG, b""),
    ("refresh", REFRESH, b"\x01"),
    ("set-option-off", SET_OPTION, struct.pack("<H", 1)),
    ("set-option-on", SET_OPTION, struct.pack("<H", 0)),
    ("set-option-bad", SET_OPTION, struct.pack("<H", 9)),
    ("unknown-command", 0x2F, b""),
]

# name, SQL, executions: (name, cursor type, parameter block)
PARAM_INT = b"\0\x01\x08\0" + struct.pack("<q", 3)
STATEMENTS = [
    ("prepare-nothing", b"SET @a = 1", [("execute-set", 0, b"")]),
    ("prepare-no-params", b"SELECT id, name FROM t ORDER BY id", [
        ("execute-rows", 0, b""), ("execute-cursor", 1, b"")]),
    ("prepare-one-param", b"DO ?", [("execute-do", 0, PARAM_INT)]),
    ("prepare-mixed", b"SELECT ?, id, at FROM t WHERE id <= ?", [
        ("execute-params", 0, b"\0\x01\x08\0\x08\0" + struct.pack("<qq", 7, 3))]),
    ("prepare-many-params", b"INSERT INTO w(v) VALUES " + b",".join([b"(?)"] * 40), []),
    ("prepare-insert", b"INSERT INTO w(v) VALUES (?)", [
        ("execute-insert", 0, PARAM_INT), ("execute-insert-cursor", 1, PARAM_INT)]),
    ("prepare-empty", b"SELECT id FROM t WHERE id > 100", [
        ("execute-empty", 0, b""), ("execute-empty-cursor", 1, b"")]),
    ("prepare-call", b"CALL two()", [("execute-call", 0, b"")]),
    ("prepare-call-outs", b"CALL outs(?, ?)", [
        ("execute-call-outs", 0, b"\0\x01\x08\0\x08\0" + struct.pack("<qq", 7, 3))]),
    ("prepare-error-late", b"SELECT picky(id) FROM t", [
        ("execute-error-after-rows", 0, b""), ("execute-error-cursor", 1, b"")]),
]


def record_statements(conn, dialect, recorder):
    """Prepare, execute, cursors read to their end, reset."""
    def keep(name, data, command):
        recorder.keep(f"{name}-{dialect}", data, dialect, command)

    for name, sql, executions in STATEMENTS:
        reply = conn.command(PREPARE, sql)
        keep(name, reply, PREPARE)
        statement = reply[5:9]
        for execution, cursor, parameters in executions:
            argument = statement + bytes([cursor]) + struct.pack("<I", 1) + parameters
            keep(execution, conn.command(EXECUTE, argument), EXECUTE)
            if execution == "execute-cursor":
                for step, rows in enumerate((2, 2, 2, 2), 1):
                    reply = conn.command(FETCH, statement + struct.pack("<I", rows))
                    keep(f"fetch-{step}", reply, FETCH)
                conn.command(EXECUTE, argument)
                reply = conn.command(FETCH, statement + struct.pack("<I", 5))
                keep("fetch-exactly-all", reply, FETCH)
                keep("stmt-reset", conn.command(STMT_RESET, statement), STMT_RESET)
            if execution == "execute-empty-cursor":
                reply = conn.command(FETCH, statement + struct.pack("<I", 5))
                keep("fetch-empty", reply, FETCH)
    keep("prepare-error", conn.command(PREPARE, b"SELECT nothing FROM nowhere"), PREPARE)
    bad = b"\xef\xbe\xad\xde"
    keep("execute-unknown", conn.command(EXECUTE, bad + b"\0\x01\0\0\0"), EXECUTE)
    keep("fetch-unknown", conn.command(FETCH, bad + b"\x01\0\0\0"), FETCH)
    keep("stmt-reset-unknown", conn.command(STMT_RESET, bad), STMT_RESET)


def record_commands(port, dialect, recorder):
    """Everything after a login, in one dialect."""
    def keep(name, data, command):
        recorder.keep(f"{name}-{dialect}", data, dialect, command)

    conn = Connection(port)
    conn.login(dialect, b"root", b"", b"weir")
    for name, code, argument in EXCHANGES:
        keep(name, conn.command(code, argument), code)

    load = b"LOAD DATA LOCAL INFILE 'numbers.csv' INTO TABLE w (v)"
    keep("load-local-request", conn.command(QUERY, load), QUERY)
    conn.send(2, b"11\n12\n13\n")
    conn.send(3, b"")
    keep("load-local-done", conn.read_reply(), QUERY)

    record_statements(conn, dialect, recorder)
    keep("reset-connection", conn.command(RESET_CONNECTION), RESET_CONNECTION)

    argument = b"weir\0\0weir\0" + struct.pack("<H", 45) + b"mysql_native_password\0"
    reply = conn.command(CHANGE_USER, argument)
    keep("change-user-switch", reply, CHANGE_USER)
    nonce = reply[4:].split(b"\0", 1)[1][:20]
    conn.send(reply[3] + 1, native(b"secret", nonce))
    keep("change-user-ok", conn.read_reply(), CHANGE_USER)
    conn.close()


NOTES = """
new = DEPRECATE_EOF and SESSION_TRACK, old = neither, mixed = SESSION_TRACK alone.
`from` is who sent the bytes; the other columns say what was negotiated and asked.

What these bytes show (MariaDB 10.11):
- The end of COM_FIELD_LIST, COM_SET_OPTION and COM_DEBUG is an EOF packet (5 bytes); under
  DEPRECATE_EOF it is an OK packet with header FE (7 bytes or more). COM_FIELD_LIST sends no
  column count: definitions come at once, so FE, FF or a definition can be first. A definition
  has one value more than elsewhere, the default. COM_SET_OPTION with a bad value: ERR 1047.
- COM_STMT_PREPARE under DEPRECATE_EOF: no packet stands between or after the definitions, the
  counts of the first packet alone say where the reply ends. Without: an EOF after each group
  that is not empty.
- COM_STMT_EXECUTE that opens a cursor ends after the definitions with one packet that has
  CURSOR_EXISTS (0x0040): FE OK under DEPRECATE_EOF, else the EOF that always follows the
  definitions. So under DEPRECATE_EOF the packet after the definitions is either a row, the
  FE OK of an empty result, or the FE OK of a cursor; all FE OKs end the reply alike. Without
  it, only the status in the first EOF says whether rows follow. A cursor asked for on a
  statement with no rows gives a plain OK; on an empty result a cursor is opened all the same;
  an error while it opens comes in the place of that last packet.
- COM_STMT_FETCH: rows, then FE OK or EOF: CURSOR_EXISTS when more may follow, LAST_ROW_SENT
  (0x0080, CURSOR_EXISTS gone) when the cursor ended. Fetching exactly the rows that are left
  does not end it: the next fetch brings no row and LAST_ROW_SENT. A fetch after that: ERR 1421.
- An ERR may stand in place of any row.
- CALL: each result set has MORE_RESULTS, the last packet is a plain OK. Trackers are in the OK
  that ends the last result set under DEPRECATE_EOF, else in the last OK. PS_OUT_PARAMS (0x1000)
  is set on the one result set that carries OUT parameters.
- info of an OK has a length before it even without SESSION_TRACK. With it, both info and
  trackers are left out when neither has anything to say.
- EOF packets may have SESSION_STATE_CHANGED (0x4000) set, with or without SESSION_TRACK,
  although they carry no trackers. OK packets have it only with trackers behind it.
- The OK of a login that names a database has a schema tracker (type 1).
- The ERR in place of a greeting has no SQLSTATE.
""".strip().splitlines()


def start_server(folder, port):
    """A server of our own; returns its process."""
    data = os.path.join(folder, "data")
    user = f"--user={getpass.getuser()}"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", user, "--skip-test-db",
         "--auth-root-authentication-method=normal", "--skip-name-resolve"],
        check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        ["mariadbd", "--no-defaults", f"--datadir={data}", user, f"--port={port}",
         "--bind-address=127.0.0.1", f"--socket={folder}/socket", "--skip-name-resolve",
         "--log-bin=binlog", "--server-id=11", "--local-infile=ON", "--thread-cache-size=0",
         f"--pid-file={folder}/pid", f"--log-error={folder}/log"])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process
        except ConnectionRefusedError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit(f"the server did not come up; see {folder}/log (--keep keeps it)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=13399, help="free loopback port")
    parser.add_argument("--keep", action="store_true", help="keep the server's folder")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="weir-capture-")
    process = start_server(folder, arguments.port)
    try:
        admin = Connection(arguments.port)
        admin.login("new")
        for statement in SETUP:
            reply = admin.command(QUERY, statement)
            assert reply[4] == 0, (statement, reply)
        text = admin.greeting[5:].split(b"\0")[0].decode().removeprefix("5.5.5-")
        version = re.match(r"\d+\.\d+", text).group()
        here = os.path.dirname(os.path.abspath(__file__))
        recorder = Recorder(os.path.join(here, f"mariadb-{version}"))
        record_logins(arguments.port, recorder)
        record_too_many(arguments.port, recorder, admin)
        for dialect in DIALECTS:
            record_commands(arguments.port, dialect, recorder)
        recorder.write_index(text, NOTES)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
