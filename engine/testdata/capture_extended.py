#!/usr/bin/env python3
"""Records what a real MariaDB answers to a client that has MariaDB's extended capabilities.

As capture.py, whose server and connection it uses; writes testdata/mariadb-<version>-extended/.

    python3 engine/testdata/capture_extended.py       # needs mariadb-install-db and mariadbd
"""

import os
import re
import shutil
import signal
import struct
import tempfile

import capture
from capture import EXECUTE, FETCH, LONG_PASSWORD, PREPARE, QUERY

# PROGRESS, STMT_BULK_OPERATIONS, EXTENDED_METADATA, CACHE_METADATA
EXTENDED = 0x1D
BULK_EXECUTE = 0xFA

SETUP = [
    b"CREATE DATABASE weir",
    b"USE weir",
    b"CREATE TABLE t (id INT PRIMARY KEY, doc JSON, place POINT)",
    b"INSERT INTO t VALUES (1, '{}', NULL), (2, NULL, NULL), (3, NULL, NULL)",
    b"CREATE TABLE w (id INT PRIMARY KEY)",
    b"CREATE TABLE large (a INT, b VARCHAR(200)) ENGINE=Aria",
    b"INSERT INTO large SELECT seq, REPEAT('x', 200) FROM seq_1_to_400000",
    b"CREATE PROCEDURE two(IN a INT) BEGIN SELECT id FROM t WHERE id < a; SELECT a; END",
]


class Extended(capture.Connection):
    """A client that leaves LONG_PASSWORD unset, so that the last four bytes mean something."""

    def login(self, dialect, user=b"root", password=b"", database=None, plugin=None,
              attributes=None):
        deprecate_eof, track = capture.DIALECTS[dialect]
        flags = capture.BASE & ~LONG_PASSWORD
        flags |= capture.DEPRECATE_EOF if deprecate_eof else 0
        flags |= capture.SESSION_TRACK if track else 0
        payload = struct.pack("<IIB19xI", flags, 1 << 24, 45, EXTENDED) + user + b"\0\0"
        payload += b"mysql_native_password\0"
        request = self.send(1, payload)
        return request, self.read_reply()


def record(port, dialect, recorder):
    """Every reply whose form the extended capabilities change."""
    def keep(name, data, command):
        recorder.keep(f"{name}-extended-{dialect}", data, dialect, command)

    conn = Extended(port)
    conn.login(dialect)
    conn.command(QUERY, b"USE weir")
    keep("select-one", conn.command(QUERY, b"SELECT 1"), QUERY)
    keep("select-types", conn.command(QUERY, b"SELECT doc, place FROM t"), QUERY)
    keep("select-empty", conn.command(QUERY, b"SELECT id FROM t WHERE id > 100"), QUERY)
    keep("multi", conn.command(QUERY, b"SELECT 1; DO 1; SELECT id FROM t"), QUERY)

    reply = conn.command(PREPARE, b"SELECT id, ? FROM t WHERE id < ?")
    keep("prepare", reply, PREPARE)
    statement, types = reply[5:9], b"\x01\x08\0\x08\0"
    for name, cursor, below in (
        ("execute-first", 0, 3), ("execute-cached", 0, 3), ("execute-cached-empty", 0, 0),
        ("execute-cursor", 1, 3), ("execute-cursor-cached", 1, 3),
    ):
        argument = statement + bytes([cursor]) + struct.pack("<I", 1) + b"\0" + types
        argument += struct.pack("<qq", 7, below)
        keep(name, conn.command(EXECUTE, argument), EXECUTE)
        if cursor:
            keep(name.replace("execute", "fetch"),
                 conn.command(FETCH, statement + struct.pack("<I", 5)), FETCH)

    reply = conn.command(PREPARE, b"CALL two(?)")
    keep("prepare-call", reply, PREPARE)
    for name in ("execute-call", "execute-call-again"):
        argument = reply[5:9] + b"\0" + struct.pack("<I", 1) + b"\0\x01\x08\0"
        keep(name, conn.command(EXECUTE, argument + struct.pack("<q", 3)), EXECUTE)

    rows = b"".join(b"\0" + struct.pack("<i", id) for id in range(3))
    for name, sql in (("bulk", b"INSERT INTO w VALUES (?)"),
                      ("bulk-returning", b"REPLACE INTO w VALUES (?) RETURNING id")):
        reply = conn.command(PREPARE, sql)
        # 128: the types of the parameters follow.
        argument = reply[5:9] + struct.pack("<H", 128) + b"\x03\0" + rows
        keep(name, conn.command(BULK_EXECUTE, argument), BULK_EXECUTE)
        if name == "bulk":
            keep("bulk-error", conn.command(BULK_EXECUTE, argument), BULK_EXECUTE)
    conn.command(QUERY, b"DELETE FROM w")

    conn.command(QUERY, b"SET progress_report_time = 1")
    # Reports come a second apart.
    capture.SILENCE_SECONDS = 4
    keep("progress", conn.command(
        QUERY, b"ALTER TABLE large ADD INDEX (b), ALGORITHM=COPY"), QUERY)
    capture.SILENCE_SECONDS = 0.15
    conn.command(QUERY, b"ALTER TABLE large DROP INDEX b")
    conn.close()


NOTES = """
The client has PROGRESS, STMT_BULK_OPERATIONS, EXTENDED_METADATA and CACHE_METADATA.
new = DEPRECATE_EOF and SESSION_TRACK, old = neither.

What these bytes show (MariaDB 10.11):
- Behind the count of columns is a byte, in every result set: 0 when the definitions are left out.
  They are left out when the same prepared statement has sent them before. To a client without
  DEPRECATE_EOF the EOF behind the definitions comes all the same.
- A progress report is a packet that begins with FF FF FF in place of the first packet of a reply;
  sequence ids go on through it.
- COM_STMT_BULK_EXECUTE is answered as COM_STMT_EXECUTE is: OK, ERR, or (RETURNING) one result set.
""".strip().splitlines()


def main():
    folder = tempfile.mkdtemp(prefix="weir-capture-")
    port = 13398
    process = capture.start_server(folder, port)
    try:
        admin = capture.Connection(port)
        admin.login("new")
        for statement in SETUP:
            reply = admin.command(QUERY, statement)
            assert reply[4] == 0, (statement, reply)
        text = admin.greeting[5:].split(b"\0")[0].decode().removeprefix("5.5.5-")
        version = re.match(r"\d+\.\d+", text).group()
        here = os.path.dirname(os.path.abspath(__file__))
        recorder = capture.Recorder(os.path.join(here, f"mariadb-{version}-extended"))
        for dialect in ("new", "old"):
            record(port, dialect, recorder)
        recorder.write_index(text, NOTES)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
