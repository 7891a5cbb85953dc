//! Texts of servers, and both types against twins that keep every single transaction.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn set(text: &str) -> MySqlGtids {
    MySqlGtids::parse(text).unwrap()
}

fn position(text: &str) -> MariaDbPosition {
    MariaDbPosition::parse(text).unwrap()
}

#[test]
fn mysql_sets_read_as_servers_write_them() {
    let upper = A.to_uppercase();
    let plain = A.replace('-', "");
    for (text, printed) in [
        (String::new(), String::new()),
        (" , ,".to_owned(), String::new()),
        (format!("{A}:1-5"), format!("{A}:1-5")),
        (format!("{upper}:1-5"), format!("{A}:1-5")),
        (format!("{plain}:7"), format!("{A}:7")),
        (format!("{A}:5:1-3:4"), format!("{A}:1-5")),
        (format!("{A}:1-3:2-9:20"), format!("{A}:1-9:20")),
        (format!("{A}:5-1"), String::new()),
        (format!("{B}:1,\n{A}:1-2,\n{B}:3"), format!("{A}:1-2,{B}:1:3")),
        (format!("{A}:1-2:Tag_1:4:5:b:1,{A}:b:2"), format!("{A}:1-2:b:1-2:tag_1:4-5")),
        (format!("{A}:tag:1"), format!("{A}:tag:1")),
        (A.to_owned(), String::new()),
        (format!("{A}:1:tag"), format!("{A}:1")),
        (format!(" {A} : 1 - 3 "), format!("{A}:1-3")),
        (format!("{A}:9223372036854775806"), format!("{A}:9223372036854775806")),
    ] {
        assert_eq!(set(&text).to_string(), printed, "{text}");
    }
    for text in [
        "x",
        &format!("{A}:"),
        &format!("{A}:0"),
        &format!("{A}:1-"),
        &format!("{A}:-1"),
        &format!("{A}:+1"),
        &format!("{A}:9223372036854775807"),
        &format!("{A}:{}:1", "t".repeat(33)),
        "3e11fa47x71ca-11e1-9e33-c80aa9429562:1",
        "3e11fa47-71ca-11e1-9e33-c80aa942956g:1",
        "ü:1",
    ] {
        assert_eq!(MySqlGtids::parse(text), Err(GtidError::Malformed), "{text}");
    }
}

#[test]
fn mysql_sets_are_counted() {
    let known = set(&format!("{A}:1-100:tag:1-10"));
    assert_eq!((known.count(), set("").count()), (110, 0));
    assert!(set("").is_empty() && !known.is_empty());
    for (other, missing) in [
        (String::new(), 0),
        (format!("{A}:5-10:90-100"), 0),
        (format!("{A}:90-110:200"), 11),
        (format!("{A}:tag:5-15"), 5),
        (format!("{A}:tags:5-15"), 11),
        (format!("{B}:1-7"), 7),
    ] {
        let other = set(&other);
        assert_eq!((known.missing(&other), known.contains(&other)), (missing, missing == 0));
    }
    let all = set(&format!("{A}:1-9223372036854775806,{B}:1-9223372036854775806,{A}:t:1-9"));
    assert_eq!((all.count(), set("").missing(&all)), (u64::MAX, u64::MAX));
}

#[test]
fn mariadb_positions_read_as_servers_write_them() {
    for (text, printed) in [
        ("", ""),
        ("0-1-5", "0-1-5"),
        ("7-2-1, 0-1-5", "0-1-5,7-2-1"),
        ("0-1-5,0-2-9,0-3-7", "0-2-9"),
        (
            "4294967295-4294967295-18446744073709551615",
            "4294967295-4294967295-18446744073709551615",
        ),
    ] {
        assert_eq!(position(text).to_string(), printed);
    }
    for text in ["x", "0-1", "0-1-5-6", "-1-2-3", "0--5", "0-1-", "4294967296-1-1", "0-+1-1"] {
        assert_eq!(MariaDbPosition::parse(text), Err(GtidError::Malformed), "{text}");
    }
    let known = position("0-1-100,1-1-50");
    for (other, missing) in
        [("", 0), ("0-2-100", 0), ("0-1-103,1-1-1", 3), ("2-1-7", 7), ("0-1-101,1-9-52", 3)]
    {
        let other = position(other);
        assert_eq!((known.missing(&other), known.contains(&other)), (missing, missing == 0));
    }
}

#[test]
fn both_are_bounded() {
    let intervals = |count: usize| {
        let text = (1..=count).map(|at| format!(":{}", 2 * at)).collect::<String>();
        format!("{A}{text}")
    };
    let full = set(&intervals(GTID_PARTS_MAX));
    assert_eq!(full.count(), GTID_PARTS_MAX as u64);
    assert_eq!(MySqlGtids::parse(&intervals(GTID_PARTS_MAX + 1)), Err(GtidError::TooMany));
    let mut more = set(&format!("{B}:1"));
    assert_eq!(more.merge(&full), Err(GtidError::TooMany));
    assert_eq!(more, set(&format!("{B}:1")));
    let domains = |from: usize, to: usize| {
        (from..to).map(|domain| format!("{domain}-1-1,")).collect::<String>()
    };
    let full = position(&domains(0, GTID_PARTS_MAX));
    let too_many = MariaDbPosition::parse(&domains(0, GTID_PARTS_MAX + 1));
    assert_eq!(too_many, Err(GtidError::TooMany));
    let mut more = position("99999-1-1");
    assert_eq!(more.merge(&full), Err(GtidError::TooMany));
    assert_eq!(more, position("99999-1-1"));
}

#[test]
fn families_do_not_know_each_other() {
    let mysql = Gtids::MySql(set(&format!("{A}:1-2")));
    let mariadb = Gtids::MariaDb(position("0-1-2"));
    assert_eq!((mysql.missing(&mariadb), mariadb.missing(&mysql)), (None, None));
    assert!(!mysql.contains(&mariadb) && mysql.contains(&mysql) && mariadb.contains(&mariadb));
    assert_eq!(format!("{mysql} {mariadb}"), format!("{A}:1-2 0-1-2"));
}

#[test]
fn what_came_before_is_taken_in_as_far_as_it_is_known_to_have_no_hole() {
    for (text, known, filled) in [
        ("A:9", "A:1-7", "A:1-7:9"),
        ("A:8", "A:1-7", "A:1-8"),
        ("A:5", "A:1-7", "A:1-5"),
        ("A:9", "A:1-3:5-7", "A:9"),
        ("A:9", "A:2-7", "A:9"),
        ("A:9,B:4", "B:1-3", "A:9,B:1-4"),
        ("A:t:9", "A:1-7", "A:t:9"),
        ("A:9", "", "A:9"),
    ] {
        let read = |text: &str| set(&text.replace('A', A).replace('B', B));
        let mut gtids = Gtids::MySql(read(text));
        gtids.fill(&Gtids::MySql(read(known)));
        assert_eq!(gtids, Gtids::MySql(read(filled)), "{text} {known}");
    }
    // A position stands for all before it.
    let mut gtids = Gtids::MariaDb(position("0-1-9"));
    gtids.fill(&Gtids::MariaDb(position("0-1-7,1-1-1")));
    assert_eq!(gtids, Gtids::MariaDb(position("0-1-9")));
}

#[test]
fn only_the_same_family_is_taken_in() {
    let mut mysql = Gtids::MySql(set(&format!("{A}:1-2")));
    let mut mariadb = Gtids::MariaDb(position("0-1-2"));
    assert_eq!(mysql.merge(&mariadb.clone()), Err(GtidError::Malformed));
    assert_eq!(mariadb.merge(&mysql.clone()), Err(GtidError::Malformed));
    mysql.merge(&Gtids::MySql(set(&format!("{A}:5,{B}:1")))).unwrap();
    mariadb.merge(&Gtids::MariaDb(position("0-1-1,3-1-1"))).unwrap();
    assert_eq!(format!("{mysql} {mariadb}"), format!("{A}:1-2:5,{B}:1 0-1-2,3-1-1"));
    assert_eq!((mysql.parts(), mariadb.parts()), (3, 2));
    assert!(!mysql.is_empty() && Gtids::MariaDb(position("")).is_empty());
}

/// Every single transaction: source, tag, number.
type Naive = BTreeSet<(usize, usize, u64)>;

/// Pieces of a set: source, tag, first number, length.
fn pieces() -> impl Strategy<Value = Vec<(usize, usize, u64, u64)>> {
    prop::collection::vec((0..2_usize, 0..3_usize, 1..40_u64, 0..9_u64), 0..12)
}

fn text_of(pieces: &[(usize, usize, u64, u64)]) -> String {
    let piece = |(source, tag, first, length): &(usize, usize, u64, u64)| {
        let tag = ["", ":x", ":y_1"][*tag];
        // Of length 0 it ends before it begins.
        format!("{}{tag}:{first}-{}", [A, B][*source], first + length - 1)
    };
    pieces.iter().map(piece).collect::<Vec<_>>().join(",")
}

fn naive_of(pieces: &[(usize, usize, u64, u64)]) -> Naive {
    let all = pieces.iter().flat_map(|(source, tag, first, length)| {
        (*first..first + length).map(|number| (*source, *tag, number))
    });
    all.collect()
}

proptest! {
    #[test]
    fn mysql_sets_do_what_their_twin_does(left in pieces(), right in pieces()) {
        let (mut one, other) = (set(&text_of(&left)), set(&text_of(&right)));
        let (naive, naive_other) = (naive_of(&left), naive_of(&right));
        prop_assert_eq!(one.count(), naive.len() as u64);
        prop_assert_eq!(one.missing(&other), naive_other.difference(&naive).count() as u64);
        prop_assert_eq!(one.contains(&other), naive_other.is_subset(&naive));
        prop_assert_eq!(one == other, naive == naive_other);
        prop_assert_eq!(&set(&one.to_string()), &one);
        one.merge(&other).unwrap();
        prop_assert_eq!(one.count(), naive.union(&naive_other).count() as u64);
        prop_assert!(one.contains(&other));
        let together = [left, right].concat();
        prop_assert_eq!(one, set(&text_of(&together)));
    }

    #[test]
    fn mariadb_positions_do_what_their_twin_does(
        left in prop::collection::btree_map(0..4_u32, (1..3_u32, 0..50_u64), 0..4),
        right in prop::collection::btree_map(0..4_u32, (1..3_u32, 0..50_u64), 0..4),
    ) {
        let text = |map: &BTreeMap<u32, (u32, u64)>| {
            let items = map.iter().map(|(domain, (server, number))| format!("{domain}-{server}-{number}"));
            items.collect::<Vec<_>>().join(",")
        };
        let naive = |map: &BTreeMap<u32, (u32, u64)>| -> BTreeSet<(u32, u64)> {
            map.iter().flat_map(|(domain, (_, last))| (1..=*last).map(|it| (*domain, it))).collect()
        };
        let (mut one, other) = (position(&text(&left)), position(&text(&right)));
        let (had, wanted) = (naive(&left), naive(&right));
        prop_assert_eq!(one.missing(&other), wanted.difference(&had).count() as u64);
        prop_assert_eq!(one.contains(&other), wanted.is_subset(&had));
        prop_assert_eq!(&position(&one.to_string()), &one);
        one.merge(&other).unwrap();
        prop_assert!(one.contains(&other) && one.contains(&position(&text(&left))));
        prop_assert_eq!(position("").missing(&one), had.union(&wanted).count() as u64);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-:,0-9a-f_ \\PC]{0,80}") {
        if let Ok(set) = MySqlGtids::parse(&text) {
            prop_assert_eq!(MySqlGtids::parse(&set.to_string()), Ok(set));
        }
        if let Ok(position) = MariaDbPosition::parse(&text) {
            prop_assert_eq!(MariaDbPosition::parse(&position.to_string()), Ok(position));
        }
    }
}
