// mysql2 through an endpoint that splits.
//
// Purpose: its pool, transactions and prepared statements work there.
// Never: rely on how fresh a replica is.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(`${process.env.WEIR_NODE_MODULES}/`);
const mysql = require("mysql2/promise");
const names = ["host", "port", "user", "password", "database"];
const options = Object.fromEntries(names.map((name) => [name, { type: "string" }]));
const { values } = parseArgs({ options });
const pool = mysql.createPool({ ...values, port: Number(values.port), connectionLimit: 4 });

await pool.query("CREATE TABLE words_n (id INT PRIMARY KEY, text VARCHAR(50))");
const connection = await pool.getConnection();
await connection.beginTransaction();
await connection.execute("INSERT INTO words_n VALUES (?, ?)", [1, "wörd"]);
const [inside] = await connection.execute("SELECT text FROM words_n");
if (inside[0]?.text !== "wörd") throw new Error(JSON.stringify(inside));
await connection.commit();
connection.release();
const until = Date.now() + 20_000;
for (;;) {
  const many = Array.from({ length: 8 }, () => pool.execute("SELECT text FROM words_n WHERE id = ?", [1]));
  const seen = (await Promise.all(many)).map(([rows]) => rows[0]?.text);
  if (seen.every((text) => text === "wörd")) break;
  if (Date.now() > until) throw new Error(JSON.stringify(seen));
}
await pool.query("DROP TABLE words_n");
await pool.end();
console.log("mysql2");
