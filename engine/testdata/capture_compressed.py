#!/usr/bin/env python3
"""Records a compressed dialogue between `mariadb --compress` and a real MariaDB, byte for byte.

    python3 engine/testdata/capture_compressed.py     # needs what capture.py needs, and mariadb

Writes testdata/mariadb-<version>-compressed.bin: what followed the login, as stretches of
one byte (0: the client sent it, 1: the server), four bytes of length (LE), and the bytes.
"""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading

import capture

# Commands in one envelope and in several, results likewise, several results, a file, an error.
LONG = "x" * 40_000
STATEMENTS = f"""
SELECT 1;
SELECT LENGTH('{LONG}') AS of_three_envelopes;
CREATE DATABASE d; USE d; CREATE TABLE t (a INT, b VARCHAR(20));
LOAD DATA LOCAL INFILE 'rows.csv' INTO TABLE t FIELDS TERMINATED BY ',';
SELECT COUNT(*), SUM(a) FROM t;
SELECT * FROM t ORDER BY a LIMIT 700;
SELECT REPEAT('y', 100000);
SELECT nonsense;
DELIMITER //
CREATE PROCEDURE p() BEGIN SELECT * FROM t ORDER BY a LIMIT 20; SELECT 2; SELECT 'three'; END//
CREATE PROCEDURE big() BEGIN SELECT REPEAT('z', 70000); SELECT a FROM t ORDER BY a LIMIT 400; END//
SELECT 1; SELECT 'ab', REPEAT('c', 60); DO 0//
DELIMITER ;
CALL p();
CALL big();
DROP DATABASE d;
"""


def pump(source, sink, mark, log, lock):
    """Copies one direction and notes what went by."""
    try:
        while data := source.recv(1 << 16):
            with lock:
                log.append((mark, data))
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def relay(listener, port, log):
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", port))
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lock = threading.Lock()
    up = threading.Thread(target=pump, args=(client, server, 0, log, lock))
    up.start()
    pump(server, client, 1, log, lock)
    up.join()
    client.close()
    server.close()


def after_login(log):
    """Cuts off everything up to the server's first OK, which is the last plain packet."""
    seen = b""
    for at, (mark, data) in enumerate(log):
        if mark == 0:
            continue
        seen += data
        rest, ok = seen, False
        while len(rest) >= 5:
            length = int.from_bytes(rest[:3], "little")
            ok, rest = rest[4] == 0, rest[4 + length :]
            if ok:
                assert not rest, "bytes behind the login's OK"
                return log[at + 1 :]
    raise SystemExit("no login was seen")


def main():
    folder = tempfile.mkdtemp(prefix="weir-capture-")
    process = capture.start_server(folder, 13398)
    try:
        with open(os.path.join(folder, "rows.csv"), "w") as file:
            file.writelines(f"{row},{'abcdefgh'[row % 8] * (row % 19)}\n" for row in range(6_000))
        listener = socket.create_server(("127.0.0.1", 0))
        log = []
        thread = threading.Thread(target=relay, args=(listener, 13398, log))
        thread.start()
        subprocess.run(
            ["mariadb", "--no-defaults", "--compress", "--local-infile=1", "--force", "--batch",
             "--disable-auto-rehash", "--user=root", "--host=127.0.0.1", "--skip-ssl",
             f"--port={listener.getsockname()[1]}"],
            input=STATEMENTS.encode(), check=False, cwd=folder, stdout=subprocess.DEVNULL)
        thread.join()
        version = re.search(rb"\d+\.\d+", log[0][1].replace(b"5.5.5-", b"")).group().decode()
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, f"mariadb-{version}-compressed.bin"), "wb") as file:
            for mark, data in after_login(log):
                file.write(struct.pack("<BI", mark, len(data)) + data)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
