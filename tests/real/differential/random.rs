//! Statements by chance.
//!
//! Purpose: combinations nobody thought of, the same ones in every run.
//! Never: depend on time or on an order the server is free to choose.

use weir::wire::Command;

use super::stream::{Param, Words};

const SEED: u64 = 0x5eed_0000_0000_0015;
const COUNT: usize = 300;

/// Adds statements about the table `t`, some of them together, some of them prepared.
pub(super) fn statements(words: &mut Words) {
    let mut dice = Dice(SEED);
    let mut open: Vec<(usize, usize)> = Vec::new();
    for _ in 0..COUNT {
        match dice.below(10) {
            0 => {
                let commands = (0..2 + dice.below(6)).map(|_| words.query(&dice.sql())).collect();
                words.together("some at once, by chance", commands);
            }
            1 => {
                let several: Vec<String> = (0..2 + dice.below(4)).map(|_| dice.sql()).collect();
                words.sql(&several.join("; "));
            }
            2 => {
                let (sql, params) = dice.of(&PREPARED);
                open.push((words.prepare(sql), params));
            }
            3..=5 if !open.is_empty() => {
                let (ordinal, params) = dice.of(&open);
                let values: Vec<Param<'_>> = (0..params).map(|_| dice.param()).collect();
                let asked = words.execute(ordinal, false, &values);
                words.say(format!("execute statement {ordinal}, by chance"), asked);
            }
            6 if open.len() > 3 => {
                let (ordinal, _) = open.swap_remove(dice.below(open.len()));
                let asked = words.of_statement(Command::StmtClose, ordinal, b"");
                words.say(format!("close statement {ordinal}, by chance"), asked);
            }
            _ => words.sql(&dice.sql()),
        }
    }
    words.sql("ROLLBACK");
    words.sql("SELECT * FROM t ORDER BY id");
}

/// Statements the server takes, and how many parameters they have.
const PREPARED: [(&str, usize); 6] = [
    ("SELECT id, a, s FROM t WHERE a = ? OR id < ? ORDER BY id", 2),
    ("INSERT INTO t (a, s) VALUES (?, ?)", 2),
    ("UPDATE t SET s = ? WHERE id = ?", 2),
    ("SELECT ?, ?, ?", 3),
    ("DO ?", 1),
    ("SELECT COUNT(*), MAX(a) FROM t", 0),
];

const WORDS: [&str; 6] = ["", "word", "wörd", "with 'quotes'", "5", "a long one, of some length"];

/// A generator of numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.get(self.below(choices.len())).unwrap()
    }

    fn number(&mut self) -> i64 {
        i64::try_from(self.below(40)).unwrap() - 5
    }

    fn param(&mut self) -> Param<'static> {
        match self.below(4) {
            0 => Param::Null,
            1 => Param::Text(self.of(&WORDS)),
            _ => Param::Int(self.number()),
        }
    }

    fn sql(&mut self) -> String {
        let (n, m) = (self.number(), self.number());
        let word = self.of(&WORDS).replace('\'', "''");
        match self.below(16) {
            0..=2 => format!("INSERT INTO t (a, s) VALUES ({n}, '{word}'), ({m}, NULL)"),
            3 => format!("INSERT INTO t (id, a) VALUES ({n}, {m})"),
            4 => format!("UPDATE t SET a = {n}, s = '{word}' WHERE id = {m}"),
            5 => format!("DELETE FROM t WHERE id = {n}"),
            6 => format!("SELECT id, a, s, b FROM t WHERE a < {n} ORDER BY id"),
            7 => format!(
                "SELECT a, COUNT(*), GROUP_CONCAT(id ORDER BY id) FROM t GROUP BY a ORDER BY a LIMIT {}",
                n.abs()
            ),
            8 => format!("SELECT REPEAT('{word}', {}), {n}", (n + 5) * 500),
            9 => "BEGIN".to_owned(),
            10 => self.of(&["COMMIT", "ROLLBACK", "SAVEPOINT here"]).to_owned(),
            11 => format!("SET @v = {n}; SELECT @v, '{word}'"),
            12 => format!("SELECT {n} / {m}, LENGTH('{word}')"),
            13 => format!("SELECT * FROM t{n}"),
            14 => format!("SET autocommit = {}", n.rem_euclid(2)),
            _ => format!("CALL p({n}, @m)"),
        }
    }
}
