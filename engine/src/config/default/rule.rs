//! Keys of rules.
//!
//! Purpose: their names, defaults and texts.
//! Never: hold a rule between two keys.

use super::{Key, NAME, USER_NAME};
use crate::config::rule::ActionWord;
use crate::config::words::words;

pub(super) const RULE: &[Key] = &[
    Key::required("name", NAME, "\"no-truncate\"", "Name in errors and metrics."),
    Key::alternative("user", USER_NAME, "\"reports\"", "The account the client logged in with."),
    Key::alternative("schema", "the name of a schema", "\"shop\"", "The schema the session is in."),
    Key::alternative(
        "network",
        "a list of networks such as [\"10.0.0.0/8\", \"192.0.2.7\"]",
        "[\"10.0.0.0/8\"]",
        "Where the client is. Clients of a unix socket are in no network.",
    ),
    Key::alternative(
        "endpoint",
        "the name of an endpoint with pooling = \"transaction\"",
        "\"app\"",
        "The endpoint the client is connected to.",
    ),
    Key::alternative(
        "digest",
        "16 hexadecimal digits",
        "\"8a5edab282632443\"",
        "The digest of the statement, as weir explain prints it: the same whatever its literals, \
         blanks and comments.",
    ),
    Key::alternative(
        "regex",
        "a regular expression of Rust's crate regex, of up to 1 MiB when compiled",
        "\"(?i)^TRUNCATE\"",
        "Found in the statement as the client has sent it, comments included, of up to 16 KiB.",
    ),
    Key::word(
        "action",
        words::<ActionWord>,
        "What becomes of the statement. \"route\": it goes to the servers of to. \"reject\": it gets \
         an error. \"rewrite\": what regex finds is replaced, and the rules are tried on the new text. \
         \"limit\": so many run, others wait or get error 1040. \"delay\": it waits first. \"timeout\": \
         its server ends it if it takes long.",
    ),
    Key::alternative(
        "to",
        "\"primary\", \"replica\" or \"backend NAME\"",
        "\"primary\"",
        "Where a read of an endpoint with mode = \"read-write\" goes that could go to a replica. What \
         has to go to the primary goes there whatever is said here.",
    ),
    Key::integer("code", 1227, (1000, 65_535), "The number of the error."),
    Key::alternative(
        "message",
        "a text of up to 400 bytes",
        "\"ask the database team\"",
        "The text of the error, behind \"weir: \".",
    ),
    Key::alternative(
        "replace",
        "a text with $1, ${name} for what groups of regex have found, and $$ for $",
        "\"DELETE FROM\"",
        "What each find of regex is replaced by. In this file, write ${1} as $${1}.",
    ),
    Key::integer(
        "per_second",
        0,
        (0, 1_000_000),
        "How many may begin in a second, over all workers. 0 is no bound.",
    ),
    Key::integer(
        "burst",
        0,
        (0, 1_000_000),
        "How many of them may begin at once after a pause. 0 is as many as in a second.",
    ),
    Key::integer(
        "concurrent",
        0,
        (0, 1_000_000),
        "How many may be under way at the same time, over all workers. 0 is no bound.",
    ),
    Key::integer(
        "wait_ms",
        0,
        (0, 60_000),
        "How long a statement over the limit waits for its turn, in the order of coming, before it \
         gets its error.",
    ),
    Key::integer(
        "waiters_max",
        1000,
        (0, 1_000_000),
        "How many may wait for concurrent at the same time; more get their error at once.",
    ),
    Key::integer("delay_ms", 0, (0, 60_000), "How long the statement waits before it goes on."),
    Key::integer(
        "timeout_ms",
        0,
        (0, 86_400_000),
        "How long the statement may take before its server ends it; at least 1.",
    ),
    Key::flag("continue", "The rules behind it are tried, too, and what they say is done as well."),
];
