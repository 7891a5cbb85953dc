//! `weir explain`: where a statement would go, and why.
//!
//! Purpose: show what routing sees of a text, for itself or with the servers of a running Weir.
//! Never: decide; what is said of servers is that Weir's own answer.

use std::io::Read;

use anyhow::Context;
use weir::route::CLASSIFY_BYTES_MAX;
use weir::sql::{Explained, LexMode, Server};

use crate::ask::{Question, ask};
use crate::cli::Explain;

/// What is said of the statement that the flags name. `admin`: where a running Weir is asked.
pub(crate) fn read(args: &Explain, admin: Option<&str>) -> anyhow::Result<String> {
    let mut text = args.sql.clone().into_bytes();
    if text == b"-" {
        text.clear();
        std::io::stdin().lock().read_to_end(&mut text).context("standard input cannot be read")?;
    }
    if let Some(admin) = admin {
        // What is longer is not read by Weir either, and need not be sent.
        text.truncate(CLASSIFY_BYTES_MAX + 1);
        let question = Question {
            endpoint: args.endpoint.as_deref(),
            sql_mode: &args.sql_mode,
            json: args.json,
            sql: &text,
        };
        return ask(admin, &question);
    }
    let server = args.server.unwrap_or(Server::Unknown);
    let mode = LexMode::usual(server).with_sql_mode(args.sql_mode.as_bytes());
    let explained = Explained::of(&text, mode);
    if args.json {
        return Ok(serde_json::to_string_pretty(&explained)? + "\n");
    }
    let lines = explained.facts();
    Ok(lines.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect())
}
