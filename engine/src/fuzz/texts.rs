//! Statement texts.
//!
//! Purpose: any bytes, in any pieces and under any settings, come to the same tokens, findings and
//! digest as in one piece; a digest's digest is itself; the glance overlooks nothing.
//! Never: expect an outcome; a text may be unsure.

use crate::sql;
use crate::sql::{
    Charset, Class, DigestInPieces, DoubleQuotes, Finding, Findings, FindingsInPieces, Flags,
    LexMode, Marks, Nodes, Pieces, Reason, Server, Sink, Token, classify_fully, digest, find,
    may_matter, may_name_connections, whole,
};

/// Text that is kept of a digest, small so that a fuzzer finds the end.
const DIGEST_BYTES_MAX: usize = 100;

/// A statement text. The first bytes are the size of the pieces and the settings.
///
/// # Panics
/// Pieces come to something else than the whole, something is overlooked, or a digest changes.
pub fn lex(data: &[u8]) {
    let [piece, settings, text @ ..] = data else { return };
    let pieces = || text.chunks(usize::from(*piece).max(1));
    let mode = mode(*settings);

    let mut expected = Tokens::default();
    let unsure = whole(text, mode, &mut expected).is_err();
    let mut seen = Tokens::default();
    let mut cut = Pieces::new(mode);
    pieces().for_each(|piece| cut.feed(piece, &mut seen));
    assert_eq!(cut.finish(&mut seen).is_err(), unsure, "sure of the whole or of its pieces only");
    assert_eq!(seen.0, expected.0, "tokens differ by the cut");

    let found = Findings::looked_for(text, mode);
    let mut in_pieces = FindingsInPieces::new(mode);
    pieces().for_each(|piece| in_pieces.feed(piece));
    assert_eq!(in_pieces.finish(), found, "findings differ by the cut");
    let harmless = found.flags.without(Flags::UNSURE).is_empty() && found.statements < 2;
    assert!(may_matter(text) || harmless, "the glance overlooks something");

    let whole = digest(text, mode, DIGEST_BYTES_MAX);
    let mut in_pieces = DigestInPieces::new(mode, DIGEST_BYTES_MAX);
    pieces().for_each(|piece| in_pieces.feed(piece));
    assert_eq!(in_pieces.finish(), whole, "digests differ by the cut");
    assert!(whole.text.len() <= DIGEST_BYTES_MAX, "a digest is longer than allowed");
    if !whole.truncated && !whole.unsure {
        let again = digest(&whole.text, mode, DIGEST_BYTES_MAX);
        assert_eq!(again, whole, "a digest's digest is another");
    }

    let connections = find(text, LexMode::unknown(mode.backslash_escapes));
    let nothing = !matches!(connections, Ok(found) if found != Finding::Nothing);
    assert!(nothing || may_name_connections(text), "the look for connections overlooks one");
}

/// A statement text. The first byte is the settings.
///
/// # Panics
/// The glance says something else than the lexer, or a hint takes something to a replica.
pub fn classify(data: &[u8]) {
    let [settings, text @ ..] = data else { return };
    let mode = mode(*settings);
    let full = classify_fully(text, mode);
    let fast = sql::classify(text, mode);
    let unread = full.marks.contains(Marks::UNREADABLE);
    // No server accepts an UPDATE in the middle of a SELECT.
    let refused = fast.class == Class::Read && full.reason == Reason::Write;
    let same = fast.class == full.class && fast.nodes() == full.nodes() && fast.hints == full.hints;
    assert!(same || unread || refused, "the glance says {fast:?}, the lexer {full:?}");
    let reads = matches!(full.class, Class::Read | Class::Transaction);
    assert!(reads || full.nodes() == Nodes::Primary, "{full:?} goes to a replica");
    let asked = [b"/* weir:replica */", text].concat();
    let hinted = classify_fully(&asked, mode);
    assert!(hinted.nodes() == Nodes::Primary || full.class == hinted.class, "a hint decides");
}

/// Two bits for the server and quotes, one for escapes, three for the character set.
const fn mode(settings: u8) -> LexMode {
    let (server, double_quotes) = match settings & 3 {
        0 => (Server::MySql(80_036), DoubleQuotes::Text),
        1 => (Server::MariaDb(101_119), DoubleQuotes::Name),
        2 => (Server::MySql(50_744), DoubleQuotes::Name),
        _ => (Server::Unknown, DoubleQuotes::Unknown),
    };
    let charset = match settings >> 3 & 7 {
        0 | 7 => Charset::Utf8,
        1 => Charset::Gbk,
        2 => Charset::Sjis,
        3 => Charset::Big5,
        4 => Charset::Gb18030,
        5 => Charset::Single,
        _ => Charset::Unknown,
    };
    LexMode { backslash_escapes: settings & 4 == 0, double_quotes, charset, server }
}

#[derive(Debug, Default)]
struct Tokens(Vec<(Token, Vec<u8>)>);

impl Sink for Tokens {
    fn token(&mut self, token: &Token, bytes: &[u8]) {
        self.0.push((*token, bytes.to_vec()));
    }
}
