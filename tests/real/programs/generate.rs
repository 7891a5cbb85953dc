//! Programs by chance.
//!
//! Purpose: what a seed decides. A program has some topics and not others, so that there are long
//! ones without anything that keeps a connection as well as short ones full of it.
//! Never: know what the server will say; a statement that fails is as good as another.

use std::fmt;

use weir::wire::Capabilities;
use weir_tests::Flavour;

use super::dice::Dice;
use super::statements::{PREPARED, Topic, looks, topics};
use super::step::{SLOTS, Step, Value};
use crate::differential::{MODERN, OLDEST};

/// An empty schema most programs log in with: a kept connection is for clients with the schema of
/// its login.
pub(super) const COMMON: &str = "common";

/// What one session does.
pub(super) struct Program {
    /// Its first schema; the other one's name has `_b` behind it.
    pub(super) own: String,
    pub(super) capabilities: Capabilities,
    /// Number of the collation it logs in with.
    pub(super) collation: u8,
    /// The schema it logs in with.
    pub(super) database: Option<String>,
    pub(super) steps: Vec<Step>,
    /// Milliseconds of thought before each step.
    pub(super) pauses: Vec<u8>,
}

/// Protocols the sessions speak.
const DIALECTS: [Capabilities; 4] = [
    BASIC,
    BASIC.union(Capabilities::DEPRECATE_EOF),
    BASIC.union(Capabilities::DEPRECATE_EOF).union(Capabilities::FOUND_ROWS),
    BASIC.union(MODERN),
];
const BASIC: Capabilities = OLDEST.union(Capabilities::CONNECT_WITH_DB);

/// Of utf8mb4, latin1, utf8mb3, and utf8mb4 again.
const COLLATIONS_OF_MARIADB: [u8; 6] = [45, 45, 45, 8, 33, 224];
/// The server's own, latin1, utf8mb3. (Columns are shown with the number of the login, which for
/// another one of utf8mb4 no SET NAMES brings back after a reset.)
const COLLATIONS_OF_MYSQL: [u8; 3] = [255, 8, 33];

const WORDS: &[&str] = &["'one'", "''", "'zwölf'", "'it''s'", "'a \\\\ b'", "'x;y'", "'5'", "NULL"];
const TEXTS: &[&str] = &["", "text", "wörd", "7", "a longer one"];
const USER_VARIABLES: &[&str] = &["@a", "@b", "@c", "@A", "@`a`"];

impl Program {
    pub(super) fn new(seed: u64, number: u64, flavour: Flavour) -> Self {
        let mut dice = Dice::of(seed, number);
        let own = format!("prog_{number}");
        let (capabilities, collation) = dice.pick(&manners(seed, flavour));
        let database = match dice.below(10) {
            0 => None,
            1 => Some(own.clone()),
            _ => Some(COMMON.to_owned()),
        };
        // In the common one, nothing must be made.
        let uses = database.as_deref() == Some(COMMON) || dice.percent(50);
        // Before that FOUND_ROWS() is what another connection left in the memory of MariaDB.
        // A session that has asked for it once has it known from then on.
        let first = ["SELECT 1", "SELECT FOUND_ROWS()"];
        let mut steps: Vec<_> = first.iter().map(|it| Step::Query((*it).to_owned())).collect();
        steps.extend(Writer::new(&mut dice, &own, flavour).steps(uses));
        let pause = |dice: &mut Dice| if dice.percent(30) { dice.below(4) } else { 0 };
        let pauses = steps.iter().map(|_| u8::try_from(pause(&mut dice)).unwrap()).collect();
        Self { own, capabilities, collation, database, steps, pauses }
    }

    /// Its first steps.
    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
        let Self { own, capabilities, collation, database, .. } = self;
        writeln!(f, "{own}, {capabilities:?}, collation {collation}, schema {database:?}:")?;
        let mut steps = self.steps.iter().take(count).enumerate();
        steps.try_for_each(|(at, step)| writeln!(f, "{at:4}  {step}"))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, self.steps.len())
    }
}

/// How the programs of a seed log in. Not in every way there is: who shares a connection has to have
/// come in the same one.
fn manners(seed: u64, flavour: Flavour) -> [(Capabilities, u8); 2] {
    let mut dice = Dice::of(seed, u64::from(u32::MAX));
    let collations: &[u8] = match flavour {
        Flavour::MariaDb => &COLLATIONS_OF_MARIADB,
        Flavour::MySql => &COLLATIONS_OF_MYSQL,
    };
    [(); 2].map(|()| {
        let capabilities = match flavour {
            // Which says by leaving it out that it is no MySQL.
            Flavour::MariaDb => dice.pick(&DIALECTS).without(Capabilities::LONG_PASSWORD),
            Flavour::MySql => dice.pick(&DIALECTS),
        };
        (capabilities, dice.pick(collations))
    })
}

/// A program in the making.
struct Writer<'a> {
    dice: &'a mut Dice,
    own: &'a str,
    flavour: Flavour,
    /// Those of this program.
    topics: Vec<Topic>,
    looks: Vec<&'static str>,
    /// How many of a hundred steps concern prepared statements.
    prepared_percent: usize,
    look_percent: usize,
    slots: [Option<Prepared>; SLOTS],
    steps: Vec<Step>,
}

/// A statement as far as it is known what it is.
struct Prepared {
    parameters: usize,
    /// Sent by its last execution.
    types: Option<Vec<usize>>,
    /// Whether it was executed with a cursor.
    cursor: bool,
}

impl<'a> Writer<'a> {
    fn new(dice: &'a mut Dice, own: &'a str, flavour: Flavour) -> Self {
        let mut topics = topics(flavour);
        topics.retain(|topic| dice.percent(topic.percent));
        let prepared_percent = dice.pick(&[0, 0, 10, 25, 50]);
        let look_percent = dice.pick(&[15, 30, 45]);
        Self {
            dice,
            own,
            flavour,
            topics,
            looks: looks(flavour),
            prepared_percent,
            look_percent,
            slots: [const { None }; SLOTS],
            steps: Vec::new(),
        }
    }

    /// All of them; whether one of its schemas is chosen first.
    fn steps(mut self, uses: bool) -> Vec<Step> {
        if uses {
            self.say("!use %a");
        }
        let count = self.dice.between(20, 60);
        while self.steps.len() < count {
            self.step();
        }
        self.look();
        self.together()
    }

    fn step(&mut self) {
        if self.dice.percent(self.look_percent) {
            self.look();
        } else if self.dice.percent(self.prepared_percent) {
            self.prepared();
        } else {
            let at = self.dice.below(self.topics.len());
            let (moves, atomic) = (self.topics[at].moves, self.topics[at].atomic);
            let statements = self.dice.pick(moves);
            for (at, statement) in statements.iter().enumerate() {
                if at > 0 && !atomic && self.dice.percent(15) {
                    self.look();
                }
                if at > 0 && !atomic && self.dice.percent(5) {
                    self.step();
                }
                self.say(statement);
            }
        }
    }

    fn look(&mut self) {
        let at = self.dice.below(self.looks.len());
        self.say(self.looks[at]);
    }

    fn say(&mut self, text: &str) {
        let text = self.filled(text);
        let step = match text.strip_prefix('!').map(|command| command.split_once(' ')) {
            None => Step::Query(text),
            Some(Some(("use", name))) => Step::InitDb(name.to_owned()),
            Some(Some(("user", name))) => Step::ChangeUser(Some(name.to_owned())),
            Some(Some(("multi", word))) => Step::MultiStatements(word == "on"),
            Some(_) if text == "!ping" => Step::Ping,
            Some(_) if text == "!user" => Step::ChangeUser(None),
            Some(_) if text == "!reset" => Step::ResetConnection,
            Some(_) => panic!("not a command: {text}"),
        };
        self.steps.push(step);
    }

    /// With something in place of each letter behind a percent sign.
    fn filled(&mut self, text: &str) -> String {
        let mut parts = text.split('%');
        let mut out = parts.next().unwrap_or_default().to_owned();
        while let Some(part) = parts.next() {
            let mut letters = part.chars();
            match letters.next() {
                Some('a') => out.push_str(self.own),
                Some('b') => out.push_str(&format!("{}_b", self.own)),
                Some('n') => out.push_str(&self.dice.below(10).to_string()),
                Some('w') => out.push_str(self.dice.pick(WORDS)),
                Some('v') => out.push_str(self.dice.pick(USER_VARIABLES)),
                // A percent sign, and then what follows as it is.
                None => {
                    out.push('%');
                    letters = parts.next().unwrap_or_default().chars();
                }
                Some(other) => out.extend(['%', other]),
            }
            out.push_str(letters.as_str());
        }
        out
    }

    fn prepared(&mut self) {
        let slot = self.dice.below(SLOTS);
        let Some(mut statement) = self.slots[slot].take() else { return self.prepare(slot) };
        match self.dice.below(20) {
            0 | 1 => {
                if self.dice.percent(50) {
                    self.steps.push(Step::Close(slot));
                }
                return self.prepare(slot);
            }
            2 => self.steps.push(Step::Close(slot)),
            3 => self.steps.push(Step::Rewind(slot)),
            4 => self.cursor(slot, &mut statement),
            // MySQL 9.7 gives no rows any more to one that is then executed without a cursor, and
            // an end that no client understands.
            _ if statement.cursor && self.flavour == Flavour::MySql => {
                self.cursor(slot, &mut statement);
            }
            5 if statement.parameters > 0 => self.long_data(slot, &mut statement),
            _ => {
                let execute = self.execute(slot, &mut statement, false);
                self.steps.push(execute);
            }
        }
        self.slots[slot] = Some(statement);
    }

    fn prepare(&mut self, slot: usize) {
        let (sql, parameters) = self.dice.pick(PREPARED);
        let sql = self.filled(sql);
        self.steps.push(Step::Prepare { slot, sql });
        self.slots[slot] = Some(Prepared { parameters, types: None, cursor: false });
    }

    fn execute(&mut self, slot: usize, statement: &mut Prepared, cursor: bool) -> Step {
        let before = statement.types.take().filter(|_| self.dice.percent(50));
        let types = before.is_none();
        let kinds = before.unwrap_or_else(|| {
            (0..statement.parameters).map(|_| self.dice.pick(&[0, 0, 0, 1, 2, 2])).collect()
        });
        let values = kinds.iter().map(|kind| self.value(*kind)).collect();
        statement.types = Some(kinds);
        Step::Execute { slot, cursor, types, values }
    }

    fn value(&mut self, kind: usize) -> Value {
        let null = self.dice.percent(15);
        let number = self.dice.below(12);
        let text = self.dice.pick(TEXTS);
        match kind {
            0 => Value::Int((!null).then(|| i64::try_from(number).unwrap() - 2)),
            1 => Value::Double((!null).then(|| f64::from(u32::try_from(number).unwrap()) + 0.5)),
            _ => Value::Text((!null).then_some(text)),
        }
    }

    fn cursor(&mut self, slot: usize, statement: &mut Prepared) {
        statement.cursor = true;
        let execute = self.execute(slot, statement, true);
        self.steps.push(execute);
        for _ in 0..self.dice.between(1, 4) {
            if self.dice.percent(30) {
                self.look();
            }
            let rows = u32::try_from(self.dice.between(1, 6)).unwrap();
            self.steps.push(Step::Fetch { slot, rows });
        }
        if self.dice.percent(50) {
            self.steps.push(Step::Rewind(slot));
        }
    }

    fn long_data(&mut self, slot: usize, statement: &mut Prepared) {
        let parameter = u16::try_from(statement.parameters - 1).unwrap();
        for _ in 0..self.dice.between(1, 3) {
            let piece = self.dice.pick(TEXTS);
            self.steps.push(Step::LongData { slot, parameter, piece });
            if self.dice.percent(30) {
                self.look();
            }
        }
        let Step::Execute { mut values, .. } = self.execute(slot, statement, false) else { return };
        values.pop();
        values.push(Value::Long);
        self.steps.push(Step::Execute { slot, cursor: false, types: true, values });
        statement.types = None;
    }

    /// Puts some steps together.
    fn together(self) -> Vec<Step> {
        let mut out = Vec::new();
        let mut rest = self.steps.into_iter().peekable();
        while let Some(step) = rest.next() {
            if !step.can_be_together() || !self.dice.percent(5) {
                out.push(step);
                continue;
            }
            let mut several = vec![step];
            let count = self.dice.between(2, 6);
            while several.len() < count
                && let Some(next) = rest.next_if(Step::can_be_together)
            {
                several.push(next);
            }
            out.push(Step::Together(several));
        }
        out
    }
}
