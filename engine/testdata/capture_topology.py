#!/usr/bin/env python3
"""Records how real servers answer a probe, byte for byte, to testdata/topology/<folder>/<name>.bin.

    cargo xtask servers start --server mysql
    python3 engine/testdata/capture_topology.py mysql-9.7 --family mysql SOCKET PRIMARY_PORT REPLICA_PORT

Accounts are made by root, who logs in by the primary's unix socket. Only the standard library is used. A
reply is taken to be complete when the server has been silent for a while: this script must not
share Weir's idea of where a reply ends. The statements are those of topology/survey.rs. What begins
with group- was recorded by hand from a MySQL primary that is a group of its own.
"""

import argparse
import os
import socket
import struct
import time

LONG_FLAG, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION = 1 << 2, 1 << 9, 1 << 13, 1 << 15
PLUGIN_AUTH, SESSION_TRACK, DEPRECATE_EOF = 1 << 19, 1 << 23, 1 << 24
BASE = LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH | SESSION_TRACK

NAMES = (
    "read_only super_read_only innodb_read_only server_uuid server_id gtid_executed "
    "gtid_binlog_pos gtid_slave_pos gtid_mode log_bin wsrep_on wsrep_desync group_replication_group_name"
).split()
INVENTORY = "SHOW GLOBAL VARIABLES WHERE Variable_name IN (%s)" % ", ".join(f"'{n}'" for n in NAMES)
HEARTBEAT = "SELECT TIMESTAMPDIFF(MICROSECOND, MAX(ts), NOW(6)) AS behind FROM `weir_capture`.`heartbeat`"

FAMILIES = {
    "mysql": {
        "variables": "read_only super_read_only innodb_read_only server_uuid server_id gtid_executed "
        "gtid_mode log_bin",
        "channels": "SHOW REPLICA STATUS",
        "followers": "SHOW REPLICAS",
        "stop": "STOP REPLICA SQL_THREAD",
        "start": "START REPLICA",
    },
    "mariadb": {
        "variables": "read_only innodb_read_only server_id gtid_binlog_pos gtid_slave_pos "
        "log_bin wsrep_on wsrep_desync",
        "channels": "SHOW ALL SLAVES STATUS",
        "followers": "SHOW SLAVE HOSTS",
        "stop": "STOP SLAVE SQL_THREAD",
        "start": "START SLAVE",
    },
}


class Link:
    def __init__(self, where, user, capabilities=BASE | DEPRECATE_EOF):
        if isinstance(where, int):
            self.socket = socket.create_connection(("127.0.0.1", where))
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where)
        self.packet()
        # An empty password proves itself by nothing, whatever the plugin.
        body = struct.pack("<IIB23x", capabilities, 1 << 24, 45) + user.encode() + b"\0\0"
        self.send(body + b"mysql_native_password\0", 1)
        while (answer := self.packet())[0] == 0xFE:
            self.send(b"", self.seq + 1)
        assert answer[0] == 0, answer

    def send(self, payload, seq=0):
        self.socket.sendall(struct.pack("<I", len(payload))[:3] + bytes([seq]) + payload)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            data += self.socket.recv(count - len(data)) or exit("it hung up")
        return data

    def packet(self):
        header = self.exactly(4)
        self.seq = header[3]
        return self.exactly(int.from_bytes(header[:3], "little"))

    def ask(self, statement):
        self.send(b"\x03" + statement.encode())
        reply = b""
        self.socket.settimeout(0.3)
        try:
            while data := self.socket.recv(1 << 16):
                reply += data
        except TimeoutError:
            pass
        self.socket.settimeout(None)
        return reply


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("socket")
    parser.add_argument("ports", nargs=2, type=int)
    args = parser.parse_args()
    family = FAMILIES[args.family]
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "topology", args.folder)
    os.makedirs(folder, exist_ok=True)

    def record(name, link, statement):
        reply = link.ask(statement)
        with open(os.path.join(folder, f"{name}.bin"), "wb") as file:
            file.write(reply)
        print(f"{len(reply):6} {name}")

    primary, replica = args.ports
    root = Link(args.socket, "root")
    for statement in [
        "DROP USER IF EXISTS capture, nobody",
        "CREATE USER capture",
        "GRANT ALL PRIVILEGES ON *.* TO capture",
        "CREATE USER nobody",
        "CREATE DATABASE IF NOT EXISTS weir_capture",
        "CREATE OR REPLACE TABLE weir_capture.heartbeat (ts VARCHAR(26), server_id INT PRIMARY KEY)"
        if args.family == "mariadb"
        else "CREATE TABLE IF NOT EXISTS weir_capture.heartbeat (ts VARCHAR(26), server_id INT PRIMARY KEY)",
        "REPLACE weir_capture.heartbeat VALUES (NOW(6) - INTERVAL 2 SECOND, 1)",
    ]:
        answer = root.ask(statement)
        assert answer[4] == 0, (statement, answer)
    time.sleep(1)
    variables = "SELECT " + ", ".join(f"@@global.{n} AS {n}" for n in family["variables"].split())
    for role, port in [("primary", primary), ("replica", replica)]:
        link = Link(port, "capture")
        record(f"{role}-inventory", link, INVENTORY)
        record(f"{role}-variables", link, variables)
        record(f"{role}-channels", link, family["channels"])
        record(f"{role}-followers", link, family["followers"])
        record(f"{role}-heartbeat", link, HEARTBEAT)
    old = Link(replica, "capture", BASE)
    record("replica-channels-old", old, family["channels"])
    link.ask(family["stop"])
    record("stopped-channels", link, family["channels"])
    link.ask(family["start"])
    denied = Link(replica, "nobody")
    record("denied-channels", denied, family["channels"])
    record("denied-followers", denied, family["followers"])
    record("denied-heartbeat", denied, HEARTBEAT)


main()
