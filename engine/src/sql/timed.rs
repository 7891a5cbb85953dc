//! Statements that their server is to end if they take long.
//!
//! Purpose: say so in the statement's own text, by the means its server has.
//! Never: change a text that is not surely one statement, or one that the server would not end.

use std::time::Duration;

use crate::sql::classify::{Marks, classify_fully};
use crate::sql::findings::Findings;
use crate::sql::lex::{Kind, Lexer};
use crate::sql::mode::{LexMode, Server};

/// What MariaDB ends when it takes longer.
const MARIADB: [&[u8]; 6] = [b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"REPLACE", b"WITH"];

/// The text, to be ended by its server after that time: on MariaDB one that reads or writes tables,
/// by `SET STATEMENT max_statement_time`, on MySQL a SELECT, by the hint `MAX_EXECUTION_TIME`. `None`
/// for any other, or where the server is not known.
#[must_use]
pub fn timed(text: &[u8], mode: LexMode, time: Duration) -> Option<Vec<u8>> {
    let first = Lexer::new(text, mode).next_token().ok()??;
    let is_one = Findings::looked_for(text, mode).statements == 1
        && !classify_fully(text, mode).marks.contains(Marks::UNREADABLE);
    if first.kind != Kind::Word || !is_one {
        return None;
    }
    let (start, end) = (first.start, first.end);
    // What begins in a comment for some servers may end there.
    let gap = text.get(..start).unwrap_or_default();
    if memchr::memmem::find(gap, b"/*!").or(memchr::memmem::find(gap, b"/*M!")).is_some() {
        return None;
    }
    let is = |word: &[u8]| text.get(start..end).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let (at, put) = match mode.server {
        Server::MariaDb(_) => {
            let is_known = MARIADB.into_iter().any(is);
            let seconds = time.as_secs_f64();
            let put = format!("SET STATEMENT max_statement_time = {seconds:.3} FOR ");
            is_known.then_some((start, put))?
        }
        Server::MySql(_) => {
            let hint = format!("MAX_EXECUTION_TIME({})", time.as_millis());
            let rest = text.get(end..).unwrap_or_default();
            let blanks = rest.len() - rest.trim_ascii_start().len();
            // Of two such comments the server reads the first one.
            let has_hints = rest.trim_ascii_start().starts_with(b"/*+");
            let at = if has_hints { end + blanks + 3 } else { end };
            let put = if has_hints { format!(" {hint}") } else { format!(" /*+ {hint} */") };
            is(b"SELECT").then_some((at, put))?
        }
        Server::Unknown => return None,
    };
    let (before, behind) = text.split_at_checked(at)?;
    Some([before, put.as_bytes(), behind].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(server: Server, text: &str) -> Option<String> {
        let text = timed(text.as_bytes(), LexMode::usual(server), Duration::from_millis(1_250))?;
        Some(String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_statement_says_itself_how_long_it_may_take() {
        let maria = |text| of(Server::MariaDb(101_119), text);
        let mysql = |text| of(Server::MySql(90_704), text);
        for (text, on_maria, on_mysql) in [
            (
                "/* a */ select 1",
                Some("/* a */ SET STATEMENT max_statement_time = 1.250 FOR select 1"),
                Some("/* a */ select /*+ MAX_EXECUTION_TIME(1250) */ 1"),
            ),
            (
                "SELECT /*+ NO_ICP(t) */ 1",
                Some("SET STATEMENT max_statement_time = 1.250 FOR SELECT /*+ NO_ICP(t) */ 1"),
                Some("SELECT /*+ MAX_EXECUTION_TIME(1250) NO_ICP(t) */ 1"),
            ),
            (
                "UPDATE t SET a = 1",
                Some("SET STATEMENT max_statement_time = 1.250 FOR UPDATE t SET a = 1"),
                None,
            ),
            ("COMMIT", None, None),
            ("SET a = 1", None, None),
            ("/*!50000 SELECT */ 1", None, None),
            ("SELECT 1; SELECT 2", None, None),
            ("SELECT 'a", None, None),
            ("", None, None),
        ] {
            assert_eq!(maria(text).as_deref(), on_maria, "{text}");
            assert_eq!(mysql(text).as_deref(), on_mysql, "{text}");
        }
        assert_eq!(of(Server::Unknown, "SELECT 1"), None);
    }
}
