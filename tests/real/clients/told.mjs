// A login by Node's mysql2 to which the password has to be told: it seals it for the server's key.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(`${process.env.WEIR_NODE_MODULES}/`);
const mysql = require("mysql2/promise");

const text = { type: "string" };
const { values: args } = parseArgs({ options: { host: text, port: text, user: text, password: text } });
const connection = await mysql.createConnection({ ...args, port: Number(args.port) });
const [[row]] = await connection.query("SELECT USER() AS u");
console.log(row.u);
await connection.end();
