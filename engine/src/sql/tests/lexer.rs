//! Tokens: tables, the naive twin, and every cut.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::naive;
use crate::sql::{
    Charset, Digest, DigestInPieces, DoubleQuotes, Findings, FindingsInPieces, Kind, LexMode,
    Lexer, Pieces, Server, Sink, Token, Unsure, digest, may_matter, whole,
};

const MARIA: Server = Server::MariaDb(101_119);
const MYSQL: Server = Server::MySql(90_704);

fn modes() -> Vec<LexMode> {
    let mut modes = Vec::new();
    for charset in [
        Charset::Utf8,
        Charset::Single,
        Charset::Gbk,
        Charset::Sjis,
        Charset::Big5,
        Charset::Gb18030,
        Charset::Unknown,
    ] {
        for (at, server) in [MARIA, MYSQL, Server::Unknown].into_iter().enumerate() {
            for backslash_escapes in [true, false] {
                let double_quotes =
                    [DoubleQuotes::Text, DoubleQuotes::Name, DoubleQuotes::Unknown][at];
                modes.push(LexMode { backslash_escapes, double_quotes, charset, server });
            }
        }
    }
    modes
}

fn shown(text: &[u8], mode: LexMode) -> String {
    let mut lexer = Lexer::new(text, mode);
    let mut out = String::new();
    loop {
        let token = match lexer.next_token() {
            Ok(None) => return out,
            Err(Unsure) => return out + "unsure",
            Ok(Some(token)) => token,
        };
        let kind = match token.kind {
            Kind::Word => "w",
            Kind::Number => "n",
            Kind::Hex => "h",
            Kind::Quoted => "q",
            Kind::Text => "t",
            Kind::Variable => "v",
            Kind::System => "y",
            Kind::Assign => "a",
            Kind::Sign(_) => "s",
        };
        out += &format!("{kind}<{}> ", text[token.start..token.end].escape_ascii());
    }
}

#[test]
fn tokens_of_a_usual_session() {
    let check = |text: &str, expect: Expect| {
        expect.assert_eq(&shown(text.as_bytes(), LexMode::usual(MARIA)));
    };
    check(
        "@a @a.b @`x y` @'x''y' @@a @@session.b",
        expect![
            "v<@a> v<@a.b> v<@`x y`> v<@\\'x\\'\\'y\\'> y<@@> w<a> y<@@> w<session> s<.> w<b> "
        ],
    );
    check("@ a @", expect!["v<@> w<a> v<@> "]);
    check("a:=1 @b:=2 :c", expect!["w<a> a<:=> n<1> v<@b> a<:=> n<2> s<:> w<c> "]);
    check(
        "1 1. .5 1.5e-3 1e5 1e+5 1e x.5 1.2.3",
        expect!["n<1> n<1.> n<.5> n<1.5e-3> n<1e5> n<1e+5> w<1e> w<x> s<.> w<5> n<1.2> n<.3> "],
    );
    check(
        "0x1F 0X1F 0b10 0b12 x'1f' X'1' b'1' n'a' 0x",
        expect![
            "h<0x1F> w<0X1F> h<0b10> w<0b12> h<x\\'1f\\'> h<X\\'1\\'> h<b\\'1\\'> t<n\\'a\\'> w<0x> "
        ],
    );
    check("a$b $c _utf8'x' 1abc", expect!["w<a$b> w<$c> w<_utf8> t<\\'x\\'> w<1abc> "]);
    check(
        r"'a\'b' 'a\\' 'a''b' '' \N",
        expect![[r"t<\'a\\\'b\'> t<\'a\\\\\'> t<\'a\'\'b\'> t<\'\'> s<\\> w<N> "]],
    );
}

/// Nothing is known but whether backslashes escape.
#[test]
fn doubt_is_said() {
    let tokens = |text: &str, escapes| shown(text.as_bytes(), LexMode::unknown(escapes));
    for text in
        ["'a", "`a", "\"a", "/* a", "/*! a", "/*!1 /*!2 a */ */", r"'a\'", "'ü\\'x'", "ü`a`", "`ü`"]
    {
        assert!(tokens(text, true).ends_with("unsure"), "{text}");
    }
    // Under ANSI_QUOTES the backslash is part of the name.
    assert!(tokens(r#""a\"b""#, true).ends_with("unsure"));
    // Under NO_BACKSLASH_ESCAPES it is a letter.
    assert_eq!(tokens(r"'a\' b", false), r"t<\'a\\\'> w<b> ");
}

#[test]
fn comments_of_both_servers() {
    let check = |server, text: &str, want: &str| {
        assert_eq!(shown(text.as_bytes(), LexMode::usual(server)), want, "{server:?} {text}");
    };
    for server in [MARIA, MYSQL, Server::Unknown] {
        check(server, "a -- b\n c # d\n e /* f */ g --h", "w<a> w<c> w<e> w<g> s<-> s<-> w<h> ");
        check(
            server,
            "a /*! b */ c /*!50000 d */ e /*!123 f */",
            "w<a> w<b> w<c> w<d> w<e> n<123> w<f> ",
        );
        check(server, "a --", "w<a> ");
        check(server, "/*/ a */ b", "w<b> ");
        check(server, "/*! a /* b */ c */ d", "w<a> w<c> w<d> ");
        check(server, "/* a", "unsure");
        check(server, "/*! a", "w<a> unsure");
        check(server, "# a\0b", "s<\\x00> w<b> ");
    }
    check(MARIA, "a /*M! b */ c /*M!100100 d */", "w<a> w<b> w<c> w<d> ");
    check(MYSQL, "a /*M! b */ c /*M!100100 d */", "w<a> w<c> ");
    // Left out for its version, with one inside.
    check(MARIA, "a /*!80000 b /* c */ d */ e", "w<a> w<e> ");
    check(MYSQL, "a /*!99999 b /* c */ d */ e", "w<a> w<e> ");
    check(MYSQL, "a /*!80000 b */", "w<a> w<b> ");
    check(MARIA, "a /*!101119 b */ /*!101120 c */", "w<a> w<b> ");
}

#[test]
fn letters_that_look_like_signs() {
    let check = |charset, text: &[u8], want: &str| {
        let mode = LexMode { charset, ..LexMode::usual(MYSQL) };
        assert_eq!(shown(text, mode), want, "{charset:?} {}", text.escape_ascii());
    };
    // A backslash that is the second half of a letter, and one that is not.
    for charset in [Charset::Gbk, Charset::Sjis, Charset::Gb18030] {
        check(charset, b"'\x95\\' x", "t<\\'\\x95\\\\\\'> w<x> ");
        check(charset, b"`\x95`` x", "q<`\\x95``> w<x> ");
        check(charset, b"\x95@ x", "w<\\x95@> w<x> ");
    }
    check(Charset::Big5, b"'\xA5\\' x", "t<\\'\\xa5\\\\\\'> w<x> ");
    check(Charset::Utf8, b"'\x95\\' x' y", "t<\\'\\x95\\\\\\' x\\'> w<y> ");
    check(Charset::Unknown, b"'\x95\\' x", "unsure");
    check(Charset::Unknown, b"`\x95`", "unsure");
    check(Charset::Gb18030, b"`\x81\x30\x81\x30` x", "q<`\\x810\\x810`> w<x> ");
    // An escape takes one byte, whatever it begins.
    check(Charset::Gbk, b"'\\\xBF\\' x' y", "t<\\'\\\\\\xbf\\\\\\' x\\'> w<y> ");
}

#[test]
fn quotes_by_mode() {
    let mode = |quotes, escapes| LexMode {
        double_quotes: quotes,
        backslash_escapes: escapes,
        ..LexMode::usual(MYSQL)
    };
    let text = br#""a\" b" c"#;
    assert_eq!(shown(text, mode(DoubleQuotes::Text, true)), r#"t<\"a\\\" b\"> w<c> "#);
    assert_eq!(shown(text, mode(DoubleQuotes::Name, true)), r#"q<\"a\\\"> w<b> unsure"#);
    assert_eq!(shown(text, mode(DoubleQuotes::Unknown, true)), "unsure");
    assert_eq!(shown(br"'a\' b", mode(DoubleQuotes::Text, false)), r"t<\'a\\\'> w<b> ");
    let set = LexMode::usual(MYSQL).with_sql_mode(b"ANSI_QUOTES,no_backslash_escapes");
    assert_eq!(set, mode(DoubleQuotes::Name, false));
    assert_eq!(set.with_sql_mode(b""), mode(DoubleQuotes::Text, true));
}

#[test]
fn settings_by_name() {
    for (version, server) in [
        ("8.0.36", Server::MySql(80_036)),
        ("9.7.4-commercial", Server::MySql(90_704)),
        ("5.5.5-10.11.19-MariaDB-log", MARIA),
        ("11.4.2-MariaDB", Server::MariaDb(110_402)),
        ("5.5.5", Server::MySql(50_505)),
        ("what", Server::Unknown),
        ("8.0", Server::Unknown),
        ("8.0.123456", Server::Unknown),
    ] {
        assert_eq!(Server::from_version(version), server, "{version}");
    }
    for (name, charset) in [
        ("utf8mb4", Charset::Utf8),
        ("LATIN1", Charset::Single),
        ("cp932", Charset::Sjis),
        ("gbk", Charset::Gbk),
        ("big5", Charset::Big5),
        ("gb18030", Charset::Gb18030),
        ("utf16", Charset::Unknown),
    ] {
        assert_eq!(Charset::by_name(name.as_bytes()), charset, "{name}");
    }
}

/// Everything a sink is given.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(Vec<(Token, Vec<u8>)>);

impl Sink for Seen {
    fn token(&mut self, token: &Token, bytes: &[u8]) {
        self.0.push((*token, bytes.to_vec()));
    }
}

fn seen_whole(text: &[u8], mode: LexMode) -> (Seen, bool) {
    let mut seen = Seen::default();
    let unsure = whole(text, mode, &mut seen).is_err();
    (seen, unsure)
}

fn seen_in_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>, mode: LexMode) -> (Seen, bool) {
    let mut seen = Seen::default();
    let mut cut = Pieces::new(mode);
    for piece in pieces {
        cut.feed(piece, &mut seen);
    }
    let unsure = cut.finish(&mut seen).is_err();
    (seen, unsure)
}

fn check_twin(text: &[u8], mode: LexMode) {
    let (seen, unsure) = seen_whole(text, mode);
    let plain: Vec<_> =
        seen.0.iter().map(|(t, _)| (t.kind, t.start, t.end, t.after_comment)).collect();
    assert_eq!((plain, unsure), naive::tokens(text, mode), "{mode:?} {}", text.escape_ascii());
}

fn check_cuts(text: &[u8], mode: LexMode) {
    let expected = seen_whole(text, mode);
    for at in 0..=text.len() {
        let (a, b) = text.split_at(at);
        let pieces = [a, b];
        assert_eq!(
            seen_in_pieces(pieces.into_iter(), mode),
            expected,
            "cut at {at} in {mode:?}: {}",
            text.escape_ascii()
        );
    }
    for size in [1, 2, 3, 7] {
        assert_eq!(seen_in_pieces(text.chunks(size), mode), expected, "pieces of {size}");
    }
}

/// Long names, numbers, strings and comments around the length up to which bytes are kept.
#[test]
fn long_tokens() {
    for length in [269, 270, 271, 272, 273, 274, 600] {
        let run = "a".repeat(length);
        let digits = "7".repeat(length);
        for text in [
            format!("x {run} y"),
            format!("x `{run}` y"),
            format!("x @{run} y"),
            format!("x @'{run}' y"),
            format!("x {digits} y"),
            format!("x {digits}.5e7 y"),
            format!("x 1.{digits}e7 y"),
            format!("x .{digits}e+7 y"),
            format!("x 1e{digits} y"),
            format!("x 1e+{digits}.5 y"),
            format!("x {digits}e+7 y"),
            format!("x {digits}{run} y"),
            format!("x 0x{digits} y"),
            format!("x 0b{} y", "1".repeat(length)),
            format!("x 'a{run}''b' y"),
            format!("x /*{run}*/ y"),
            format!("x # {run}\n y"),
            format!("x -- {run}\n y"),
            format!("x /*!99999 {run} /* {run} */ {run} */ y"),
            format!("x ü{run}ü@ y"),
        ] {
            for mode in [LexMode::usual(MYSQL), LexMode::unknown(true)] {
                check_twin(text.as_bytes(), mode);
                check_cuts(text.as_bytes(), mode);
            }
        }
    }
}

/// What is told of a text in pieces is what is told of the whole.
fn check_answers(text: &[u8], mode: LexMode, cuts: &[usize]) {
    let mut findings = FindingsInPieces::new(mode);
    let mut digests = DigestInPieces::new(mode, 200);
    let mut from = 0;
    for cut in cuts.iter().map(|cut| cut % (text.len() + 1)).chain([text.len()]) {
        let piece = text.get(from..cut.max(from)).unwrap();
        findings.feed(piece);
        digests.feed(piece);
        from = cut.max(from);
    }
    let found = Findings::looked_for(text, mode);
    assert_eq!(findings.finish(), found, "{}", text.escape_ascii());
    let whole: Digest = digest(text, mode, 200);
    assert_eq!(digests.finish(), whole, "{}", text.escape_ascii());
    assert!(whole.text.len() <= 200);
    if !may_matter(text) {
        let overlooked = Findings { statements: 0, ..found };
        let harmless = Findings::default();
        assert!(
            overlooked == harmless || overlooked.flags == crate::sql::Flags::UNSURE,
            "overlooked {overlooked:?} in {}",
            text.escape_ascii()
        );
    }
}

/// A digest of a digest's text is that digest.
fn check_digest(text: &[u8], mode: LexMode) {
    let first = digest(text, mode, 1 << 20);
    if first.unsure || first.truncated {
        return;
    }
    let second = digest(&first.text, mode, 1 << 20);
    assert_eq!(
        second,
        first,
        "{mode:?} {}: {} and {}",
        text.escape_ascii(),
        first.text.escape_ascii(),
        second.text.escape_ascii()
    );
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "SELECT ",
        "select",
        "INSERT INTO t ",
        "VALUES ",
        "(",
        ")",
        ",",
        ";",
        "SET ",
        "@a",
        "@`b`",
        "@'c'",
        "@\"d\"",
        "@@",
        "session",
        ".",
        "=",
        ":=",
        ":",
        "'",
        "\"",
        "`",
        "\\",
        "''",
        "/*",
        "*/",
        "/*!",
        "/*!50000",
        "/*!99999",
        "/*!80000 ",
        "/*!100100",
        "/*M!",
        "/*M!100100 ",
        "--",
        "-- ",
        "-",
        "#",
        "\n",
        " ",
        "\0",
        "1",
        "1.5",
        ".5",
        "1e",
        "1e5",
        "e",
        "E+",
        "+",
        "0x1F",
        "0b1",
        "x'",
        "b'1'",
        "n'",
        "_utf8",
        "_binary",
        "NULL",
        "null",
        "TRUE",
        "?",
        "*",
        "/",
        "<",
        ">",
        "!",
        "|",
        "INTO ",
        "GET_LOCK",
        "LAST_INSERT_ID",
        "FOUND_ROWS",
        "SQL_CALC_FOUND_ROWS ",
        "NEXT VALUE FOR ",
        "nextval",
        "BEGIN ",
        "END ",
        "CASE ",
        "IF ",
        "CREATE ",
        "PROCEDURE ",
        "TEMPORARY TABLE ",
        "COMMIT",
        "NAMES ",
        "COLLATE ",
        "GLOBAL ",
        "TRANSACTION ",
        "ab",
        "T",
        "$",
        "é",
        "名",
        "COUNT",
        "status",
        "DROP ",
    ]);
    prop_oneof![
        12 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec![
            b"\x95\\".to_vec(), b"\x81".to_vec(), b"\xA1`".to_vec(), b"\x81\x30\x81".to_vec(), b"\xFE@".to_vec(),
        ]),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(fragment(), 0..16).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_twin_says_the_same(text in text(), mode in prop::sample::select(modes())) {
        check_twin(&text, mode);
    }

    #[test]
    fn every_cut_comes_to_the_same(text in text(), mode in prop::sample::select(modes())) {
        check_cuts(&text, mode);
    }

    #[test]
    fn answers_do_not_depend_on_cuts(
        text in text(),
        mode in prop::sample::select(modes()),
        cuts in proptest::collection::vec(any::<usize>(), 0..4),
    ) {
        check_answers(&text, mode, &cuts);
    }

    #[test]
    fn digests_settle(text in text(), mode in prop::sample::select(modes())) {
        check_digest(&text, mode);
    }
}
