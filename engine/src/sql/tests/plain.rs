//! Where a statement may run, once more.
//!
//! Purpose: be obviously right. It has all the tokens of the naive lexer in a list, and looks at it
//! once per rule.
//! Never: be fast, ask sqlparser, or share code with what it is compared with.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::{Charset, Kind, LexMode, Server};
use super::naive;

/// Names before parentheses, and their servers.
static NAMES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let lines = include_str!("../classify/functions.txt").lines();
    lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect()
});

/// Built-in functions that stay on the primary.
const NOT_HARMLESS: &str = " GET_LOCK RELEASE_LOCK RELEASE_ALL_LOCKS IS_FREE_LOCK IS_USED_LOCK \
    CONNECTION_ID LAST_INSERT_ID PS_CURRENT_THREAD_ID PS_THREAD_ID FOUND_ROWS ROW_COUNT NEXTVAL \
    LASTVAL SETVAL BINLOG_GTID_POS MASTER_GTID_WAIT MASTER_POS_WAIT SOURCE_POS_WAIT \
    WAIT_FOR_EXECUTED_GTID_SET WSREP_LAST_SEEN_GTID WSREP_LAST_WRITTEN_GTID \
    WSREP_SYNC_WAIT_UPTO_GTID LOAD_FILE DES_DECRYPT DES_ENCRYPT UUID_SHORT ";

/// Whether a name in capitals, before a parenthesis, does nothing.
pub(super) fn is_harmless(name: &str, server: Server, blank: bool) -> bool {
    let Some(on) = NAMES.get(name) else { return false };
    if NOT_HARMLESS.contains(&format!(" {name} ")) {
        return false;
    }
    let mysql = on.contains(if blank { 'M' } else { 'm' });
    let maria = on.contains(if blank { 'A' } else { 'a' });
    match server {
        Server::MySql(version) if version >= 80_017 => {
            mysql || on.contains('o') && version < 90_600
        }
        Server::MySql(_) => mysql && maria || on.contains('o'),
        Server::MariaDb(version) if version >= 101_000 => maria,
        Server::MariaDb(_) | Server::Unknown => mysql && maria,
    }
}

/// A token, its word in capitals.
struct Piece {
    kind: Kind,
    word: String,
    start: usize,
    end: usize,
}

/// Whether a text may go to a replica. `None`: it begins with a word that is not judged here, or
/// takes a parse.
pub(super) fn may_go_to_a_replica(text: &[u8], mode: LexMode) -> Option<bool> {
    let (tokens, unsure) = naive::tokens(text, mode);
    let pieces: Vec<Piece> = tokens
        .into_iter()
        .map(|(kind, start, end, _)| {
            let word = String::from_utf8_lossy(&text[start..end]).to_uppercase();
            Piece { kind, word, start, end }
        })
        .collect();
    let mut statements: Vec<&[Piece]> = pieces.split(|it| it.kind == Kind::Sign(b';')).collect();
    statements.retain(|statement| !statement.is_empty());
    if statements.is_empty() {
        return Some(false);
    }
    let mut all = !unsure;
    for statement in statements {
        let first = statement.iter().find(|it| it.kind != Kind::Sign(b'('))?;
        let reads = ["SELECT", "WITH", "TABLE", "VALUES"];
        if first.kind != Kind::Word || !reads.contains(&first.word.as_str()) {
            return None;
        }
        all &= reads_only(text, statement, mode)?;
    }
    let hinted = text.windows(5).any(|part| part.eq_ignore_ascii_case(b"weir:"));
    (!hinted).then_some(all)
}

fn reads_only(text: &[u8], pieces: &[Piece], mode: LexMode) -> Option<bool> {
    let sign = |at: usize, sign| pieces.get(at).is_some_and(|it| it.kind == Kind::Sign(sign));
    let dotted = |at: usize| at > 0 && (sign(at - 1, b'.') || pieces[at - 1].kind == Kind::System);
    let word = |at: usize| {
        let piece = pieces.get(at).filter(|it| it.kind == Kind::Word && !dotted(at));
        piece.map_or("", |it| it.word.as_str())
    };
    let mut needs_parse = false;
    for (at, piece) in pieces.iter().enumerate() {
        let next = word(at + 1);
        let odd_name = matches!(piece.kind, Kind::Word | Kind::Variable)
            && matches!(mode.charset, Charset::Single | Charset::Unknown)
            && !text[piece.start..piece.end].is_ascii();
        let bad_word = match word(at) {
            "INTO" | "LOCK" | "UPDATE" | "DELETE" | "SQL_CALC_FOUND_ROWS" => true,
            "INSERT" | "REPLACE" => at + 1 < pieces.len() && !sign(at + 1, b'('),
            "FOR" => next == "SHARE",
            "NEXT" | "PREVIOUS" => next == "VALUE" && word(at + 2) == "FOR",
            _ => false,
        };
        let sequence = piece.kind == Kind::Word
            && dotted(at)
            && sign(at - 1, b'.')
            && (piece.word == "NEXTVAL" || piece.word == "CURRVAL");
        let is_name = matches!(piece.kind, Kind::Word | Kind::Quoted);
        let schema = is_name && !dotted(at) && sign(at + 1, b'.') && {
            let quotes = ['`', '"'];
            let table = pieces.get(at + 2).map_or("", |it| it.word.trim_matches(quotes));
            let has_table =
                pieces.get(at + 2).is_some_and(|it| matches!(it.kind, Kind::Word | Kind::Quoted));
            match piece.word.trim_matches(quotes) {
                "MYSQL" | "SYS" | "PERFORMANCE_SCHEMA" => true,
                "INFORMATION_SCHEMA" if has_table => !SCHEMA_TABLES.contains(&format!(" {table} ")),
                "INFORMATION_SCHEMA" if at + 2 < pieces.len() => return None,
                _ => false,
            }
        };
        let mut call = false;
        if at > 0 && sign(at, b'(') {
            let name = &pieces[at - 1];
            call = match name.kind {
                Kind::Word if !dotted(at - 1) => {
                    let against = name.word == "AGAINST" && at > 1 && sign(at - 2, b')');
                    let blank = name.end != piece.start;
                    !against && !is_harmless(&name.word, mode.server, blank)
                }
                Kind::Word | Kind::Quoted | Kind::Text => true,
                Kind::Number
                | Kind::Hex
                | Kind::Variable
                | Kind::System
                | Kind::Assign
                | Kind::Sign(_) => false,
            };
            if call && matches!(name.kind, Kind::Word | Kind::Quoted) && !dotted(at - 1) {
                let before = at.checked_sub(2).map_or("", |at| pieces[at].word.as_str());
                let lists = [")", "AS", "WITH", "RECURSIVE", ","];
                needs_parse |=
                    lists.contains(&before) || name.word == "JSON_TABLE" || name.word == "COLUMNS";
            }
        }
        let bad_kind = matches!(piece.kind, Kind::System | Kind::Assign);
        if bad_kind || bad_word || odd_name || sequence || schema || call && !needs_parse {
            return Some(false);
        }
    }
    if needs_parse { None } else { Some(true) }
}

const SCHEMA_TABLES: &str = " CHARACTER_SETS CHECK_CONSTRAINTS COLLATIONS \
    COLLATION_CHARACTER_SET_APPLICABILITY COLUMNS EVENTS KEYWORDS KEY_COLUMN_USAGE PARAMETERS \
    PARTITIONS REFERENTIAL_CONSTRAINTS ROUTINES SCHEMATA SQL_FUNCTIONS STATISTICS \
    ST_GEOMETRY_COLUMNS TABLES TABLE_CONSTRAINTS TRIGGERS VIEWS ";
