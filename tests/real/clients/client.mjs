// What Node's mysql2 sees of a server, as lines of JSON: the same lines as client.py prints.
//
// Never: print what differs from run to run: ids, times, ports.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(`${process.env.WEIR_NODE_MODULES}/`);
const mysql = require("mysql2/promise");

const { values: args } = parseArgs({
  options: {
    host: { type: "string" },
    port: { type: "string" },
    user: { type: "string" },
    password: { type: "string" },
    database: { type: "string" },
    file: { type: "string" },
    tls: { type: "string" },
    compress: { type: "boolean" },
  },
});

const say = (check, seen) => {
  const line = { check, ...seen };
  const sorted = Object.fromEntries(Object.keys(line).sort().map((key) => [key, line[key]]));
  console.log(JSON.stringify(sorted));
};

const connect = (password) =>
  mysql.createConnection({
    host: args.host,
    port: Number(args.port),
    user: args.user,
    password,
    database: args.database,
    charset: "utf8mb4",
    multipleStatements: true,
    rowsAsArray: true,
    supportBigNumbers: true,
    bigNumberStrings: false,
    dateStrings: true,
    compress: args.compress ?? false,
    ssl: args.tls ? { ca: readFileSync(args.tls) } : undefined,
    infileStreamFactory: (path) => createReadStream(path),
  });

const first = async (conn, sql) => (await conn.query(sql))[0][0];

/// Results of several statements: rows, or nothing where there are none.
const results = async (conn, sql) => {
  const [found] = await conn.query(sql);
  return found.map((one) => (Array.isArray(one) ? one : []));
};

const checkLogin = async () => {
  for (const password of ["wrong", ""]) {
    try {
      await connect(password);
      say("refused", { code: 0 });
    } catch (error) {
      say("refused", { code: error.errno, text: error.sqlMessage });
    }
  }
  const conn = await connect(args.password);
  say("login", { seen: await first(conn, "SELECT DATABASE(), USER()") });
  return conn;
};

const checkCharset = async (conn) => {
  await conn.query("CREATE TABLE words (id INT PRIMARY KEY, w VARCHAR(50)) CHARACTER SET utf8mb4");
  await conn.query("INSERT INTO words VALUES (1, ?)", ["wörd 🎉 漢字"]);
  say("charset", { seen: await first(conn, "SELECT w, HEX(w), CHAR_LENGTH(w) FROM words") });
};

const checkPrepared = async (conn) => {
  await conn.query("CREATE TABLE kinds (id INT PRIMARY KEY, w VARCHAR(20), f DOUBLE)");
  const insert = "INSERT INTO kinds VALUES (?, ?, ?)";
  for (let n = 0; n < 50; n += 1) {
    await conn.execute(insert, [n, `w${n}`, n + 0.5]);
  }
  await conn.execute(insert, [50, null, null]);
  const found = [];
  for (const from of [48, 100]) {
    const sql = "SELECT id, w, f FROM kinds WHERE id >= ? ORDER BY id";
    found.push((await conn.execute(sql, [from]))[0]);
  }
  say("prepared", { seen: found });
};

const checkTransactions = async (conn) => {
  const count = "SELECT COUNT(*) FROM words";
  const seen = [];
  await conn.beginTransaction();
  await conn.query("INSERT INTO words VALUES (2, 'two')");
  seen.push(...(await first(conn, count)));
  await conn.rollback();
  seen.push(...(await first(conn, count)));
  await conn.beginTransaction();
  await conn.query("INSERT INTO words VALUES (3, 'three')");
  await conn.commit();
  await conn.rollback();
  seen.push(...(await first(conn, count)));
  say("transactions", { seen });
};

const checkResults = async (conn) => {
  const sql = "SELECT 1; DO 1; SELECT 'two', 2; SELECT 3 WHERE 1 = 0";
  say("results", { seen: await results(conn, sql) });
  await conn.query(
    "CREATE PROCEDURE twice(IN a INT, OUT b INT) BEGIN SET b = a * 2; SELECT a; END",
  );
  say("call", { seen: await results(conn, "CALL twice(21, @b); SELECT @b") });
};

const checkFiles = async (conn) => {
  await conn.query("CREATE TABLE loaded (a INT, w VARCHAR(40))");
  const [done] = await conn.query(`LOAD DATA LOCAL INFILE '${args.file}' INTO TABLE loaded`);
  const [count, sum] = await first(conn, "SELECT COUNT(*), SUM(a) FROM loaded");
  say("file", { seen: [done.affectedRows, count, Number(sum)] });
};

const checkBlob = async (conn) => {
  const pieces = [];
  for (let n = 0; n < 20 * 1024; n += 1) {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(n);
    const digest = createHash("sha256").update(number).digest();
    pieces.push(...Array(32).fill(digest));
  }
  const value = Buffer.concat(pieces);
  await conn.query("CREATE TABLE blobs (b LONGBLOB)");
  await conn.execute("INSERT INTO blobs VALUES (?)", [value]);
  const [found] = await first(conn, "SELECT b FROM blobs");
  const sha256 = createHash("sha256").update(found).digest("hex");
  say("blob", { length: found.length, same: value.equals(found), sha256 });
};

const checkErrors = async (conn) => {
  const seen = [];
  for (const sql of [
    "SELECT * FROM absent",
    "INSERT INTO words VALUES (1, 'again')",
    "nonsense",
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own', MYSQL_ERRNO = 5555",
  ]) {
    try {
      await conn.query(sql);
      seen.push(0);
    } catch (error) {
      seen.push(error.errno);
    }
  }
  say("errors", { seen });
};

const checkWarnings = async (conn) => {
  await conn.query("CREATE TABLE small (a TINYINT)");
  await conn.query("INSERT IGNORE INTO small VALUES (1000)");
  say("warnings", { seen: await first(conn, "SHOW WARNINGS") });
};

const checkKinds = async (conn) => {
  const sql =
    "SELECT CAST('2024-02-29' AS DATE), CAST(1.25 AS DECIMAL(5,2)), NULL, " +
    "18446744073709551615, CAST('-10:11:12' AS TIME), REPEAT('x', 300) = REPEAT('x', 300)";
  say("kinds", { seen: await first(conn, sql) });
};

const conn = await checkLogin();
await checkCharset(conn);
await checkPrepared(conn);
await checkTransactions(conn);
await checkResults(conn);
await checkFiles(conn);
await checkBlob(conn);
await checkErrors(conn);
await checkWarnings(conn);
await checkKinds(conn);
await conn.ping();
say("after", { seen: await first(conn, "SELECT 'after'") });
await conn.end();
