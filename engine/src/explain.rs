//! `weir explain`: where a statement would go, and why.
//!
//! Purpose: show what routing sees of a text.
//! Never: ask a server or a running Weir.

use std::io::Read;

use anyhow::Context;
use weir::base::Consistency;
use weir::sql::{Findings, Hints, LexMode, Nodes, Role, Server, classify_fully, digest};

use crate::cli::Explain;

/// Longer digests are cut.
const DIGEST_BYTES_MAX: usize = 2048;

/// What is said of the statement that the flags name.
pub(crate) fn read(args: &Explain) -> anyhow::Result<String> {
    let mut text = args.sql.clone().into_bytes();
    if text == b"-" {
        text.clear();
        std::io::stdin().lock().read_to_end(&mut text).context("standard input cannot be read")?;
    }
    let server = args.server.unwrap_or(Server::Unknown);
    let mode = LexMode::usual(server).with_sql_mode(args.sql_mode.as_bytes());
    Ok(explained(&text, mode))
}

/// One fact a line.
fn explained(text: &[u8], mode: LexMode) -> String {
    let found = classify_fully(text, mode);
    let digest = digest(text, mode, DIGEST_BYTES_MAX);
    let nodes = match found.nodes() {
        Nodes::Primary => "primary",
        Nodes::Replicas => "replicas",
    };
    let mut flags: Vec<&str> = found.marks.names().collect();
    if flags.is_empty() {
        flags.push("none");
    }
    let statements = Findings::looked_for(text, mode).statements;
    let cut = if digest.truncated { " …" } else { "" };
    let normal = String::from_utf8_lossy(&digest.text);
    let lines = [
        ("class", found.class.name().to_owned()),
        ("nodes", nodes.to_owned()),
        ("reason", format!("{} ({})", found.reason, found.reason.text())),
        ("flags", flags.join(", ")),
        ("hints", hints(&found.hints)),
        ("statements", statements.to_string()),
        ("digest", format!("{:016x}", digest.fingerprint)),
        ("text", format!("{normal}{cut}")),
    ];
    lines.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect()
}

fn hints(hints: &Hints) -> String {
    let mut words = Vec::new();
    match hints.role {
        Some(Role::Primary) => words.push("primary".to_owned()),
        Some(Role::Replica) => words.push("replica".to_owned()),
        None => {}
    }
    if let Some(name) = hints.backend {
        words.push(format!("backend={}", String::from_utf8_lossy(name)));
    }
    if let Some(lag) = hints.max_lag_ms {
        words.push(format!("max_lag_ms={lag}"));
    }
    if let Some(level) = hints.consistency {
        let level = match level {
            Consistency::Eventual => "eventual",
            Consistency::Session => "session",
            Consistency::Instance => "instance",
            Consistency::Global => "global",
        };
        words.push(format!("consistency={level}"));
    }
    if hints.odd {
        words.push("one that cannot be read".to_owned());
    }
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
