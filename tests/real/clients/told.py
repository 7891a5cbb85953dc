"""A login by Python's MySQL libraries to which the password has to be told.

Purpose: PyMySQL seals it for the server's key, mysql-connector-python goes through TLS.
Never: check a certificate.
"""

import argparse


def connect(args):
    account = {"host": args.host, "port": args.port, "user": args.user, "password": args.password}
    if args.library == "pymysql":
        import pymysql

        return pymysql.connect(ssl_disabled=True, **account)
    import mysql.connector

    return mysql.connector.connect(ssl_verify_cert=False, **account)


parser = argparse.ArgumentParser()
parser.add_argument("library", choices=["pymysql", "connector"])
for name in ["--host", "--user", "--password"]:
    parser.add_argument(name)
parser.add_argument("--port", type=int)
with connect(parser.parse_args()) as connection:
    cursor = connection.cursor()
    cursor.execute("SELECT USER()")
    print(cursor.fetchone()[0])
