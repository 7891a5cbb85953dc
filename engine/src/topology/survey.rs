//! What is asked of a server, and how its answers are read.
//!
//! Purpose: the statements of each server's version, sent together so that a probe is one round
//! trip.
//! Never: ask for what a server does not have: the first question on a connection is what it has.

use crate::base::{Gtids, MariaDbPosition, MySqlGtids};
use crate::config::Cluster;
use crate::topology::answer::{Answer, Row, Rows};
use crate::topology::facts::{Channel, Facts, Follower, Member, Node, Refusal, Thread};
use crate::wire::Greeting;

/// A question of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Which variables there are, and whether Galera is on.
    Inventory,
    /// Their values.
    Variables,
    /// Replication.
    Channels,
    /// Group Replication.
    Group,
    /// Galera.
    Galera,
    /// The heartbeat table.
    Heartbeat,
    /// Who replicates from here.
    Followers,
    /// What it has and has applied, alone.
    Position,
}

/// What the configuration wants to know besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Schema and table of a heartbeat.
    pub heartbeat: Option<(String, String)>,
    /// Who replicates from here.
    pub followers: bool,
}

impl Wishes {
    /// Those of a cluster.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        Self { heartbeat: cluster.heartbeat_table.clone(), followers: cluster.discover }
    }
}

/// How a server is to be asked.
#[derive(Debug)]
pub(super) struct Survey {
    is_mariadb: bool,
    version: [u16; 3],
    wishes: Wishes,
    /// Of [`WANTED`], those there are; empty before the inventory.
    variables: Vec<&'static str>,
    has_galera: bool,
}

impl Survey {
    pub(super) fn new(greeting: &Greeting, wishes: Wishes) -> Self {
        let text = String::from_utf8_lossy(&greeting.version);
        let is_mariadb = text.contains("MariaDB");
        let plain = text.strip_prefix("5.5.5-").filter(|_| is_mariadb).unwrap_or(&text);
        let mut parts = plain.split(|it: char| !it.is_ascii_digit()).map(|it| it.parse().ok());
        let mut part = || parts.next().flatten().unwrap_or(0);
        let version = [part(), part(), part()];
        Self { is_mariadb, version, wishes, variables: Vec::new(), has_galera: false }
    }

    /// The next questions, in order.
    pub(super) fn questions(&self, with_inventory: bool) -> Vec<Question> {
        if with_inventory {
            return vec![Question::Inventory];
        }
        let questions = [
            (Question::Variables, !self.variables.is_empty()),
            (Question::Channels, true),
            (Question::Group, self.variables.contains(&GROUP)),
            (Question::Galera, self.has_galera),
            (Question::Heartbeat, self.wishes.heartbeat.is_some()),
            (Question::Followers, self.wishes.followers),
        ];
        questions.into_iter().filter(|(_, asked)| *asked).map(|(question, _)| question).collect()
    }

    /// A question as a statement.
    pub(super) fn statement(&self, question: Question) -> String {
        match question {
            Question::Inventory => {
                let names: Vec<_> = WANTED.iter().map(|name| format!("'{name}'")).collect();
                format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(", "))
            }
            Question::Variables => {
                let asked = self.variables.iter().filter(|name| **name != GROUP);
                let asked: Vec<_> = asked.map(|it| format!("@@global.{it} AS {it}")).collect();
                format!("SELECT {}", asked.join(", "))
            }
            Question::Channels if self.is_mariadb => "SHOW ALL SLAVES STATUS".to_owned(),
            Question::Channels if self.version >= NEW_WORDS => "SHOW REPLICA STATUS".to_owned(),
            Question::Channels => "SHOW SLAVE STATUS".to_owned(),
            Question::Group if self.version >= MEMBER_ROLES => GROUP_STATUS.to_owned(),
            Question::Group => GROUP_STATUS_5_7.to_owned(),
            Question::Galera => GALERA_STATUS.to_owned(),
            Question::Heartbeat => {
                let (schema, table) =
                    self.wishes.heartbeat.as_ref().map_or(("", ""), |(s, t)| (s, t));
                let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
                let (schema, table) = (quoted(schema), quoted(table));
                format!(
                    "SELECT TIMESTAMPDIFF(MICROSECOND, MAX(ts), NOW(6)) AS behind FROM {schema}.{table}"
                )
            }
            Question::Position => {
                let is_asked = |name: &&&str| POSITIONS.contains(name) || BEHIND_IT.contains(name);
                let asked = self.variables.iter().filter(is_asked);
                let asked: Vec<_> = asked.map(|it| format!("@@global.{it} AS {it}")).collect();
                format!("SELECT {}", asked.join(", "))
            }
            Question::Followers if !self.is_mariadb && self.version >= NEW_WORDS => {
                "SHOW REPLICAS".to_owned()
            }
            Question::Followers => "SHOW SLAVE HOSTS".to_owned(),
        }
    }

    /// Whether the server has a position.
    pub(super) fn has_position(&self) -> bool {
        self.variables.iter().any(|name| POSITIONS.contains(name))
    }

    /// Learns from the first answer what there is to be asked.
    pub(super) fn on_inventory(&mut self, answer: Option<&Answer>) {
        let Some(Answer::Rows(rows)) = answer else {
            self.variables.clear();
            return;
        };
        let value = |name: &str| {
            let mut named = rows.iter().filter(|row| {
                row.text(&["Variable_name"]).is_some_and(|it| it.eq_ignore_ascii_case(name))
            });
            named.next().map(|row| row.text(&["Value"]).unwrap_or_default())
        };
        let has = |name: &&&str| value(name).is_some_and(|it| **name != GROUP || !it.is_empty());
        self.variables = WANTED.iter().filter(has).copied().collect();
        self.has_galera = value("wsrep_on").is_some_and(is_on);
    }

    /// What the answers to [`Self::questions`] say.
    pub(super) fn facts(&self, questions: &[Question], answers: &[Answer]) -> Facts {
        let mut facts = Facts { is_mariadb: self.is_mariadb, ..Facts::default() };
        for (question, answer) in questions.iter().zip(answers) {
            match answer {
                Answer::Rows(rows) => self.read(*question, rows, &mut facts),
                Answer::Refused { code, message } => facts.refused.push(Refusal {
                    question: *question,
                    code: *code,
                    message: message.clone(),
                }),
                Answer::Unreadable => facts.refused.push(Refusal {
                    question: *question,
                    code: 0,
                    message: "its answer is too long".to_owned(),
                }),
            }
        }
        facts
    }

    fn read(&self, question: Question, rows: &Rows, facts: &mut Facts) {
        let first = rows.iter().next();
        match question {
            Question::Inventory => {}
            Question::Variables => {
                if let Some(row) = first {
                    self.read_variables(row, facts);
                }
            }
            Question::Position => {
                if let Some(row) = first {
                    self.read_positions(row, facts);
                }
            }
            Question::Channels => {
                let ours = rows.iter().map(channel);
                // The group's own are told of by the group.
                let ours = ours.filter(|it| !it.name.starts_with("group_replication_"));
                facts.channels = Some(ours.collect());
            }
            Question::Group => facts.group = member(rows, facts.uuid.as_deref()),
            Question::Galera => {
                let value = |name: &str| {
                    let mut rows = rows.iter();
                    rows.find(|row| row.text(&["Variable_name"]) == Some(name))?.text(&["Value"])
                };
                if let Some(node) = &mut facts.galera {
                    node.is_synced = value("wsrep_local_state") == Some("4")
                        && value("wsrep_cluster_status") == Some("Primary")
                        && value("wsrep_ready").is_some_and(is_on);
                }
            }
            Question::Heartbeat => {
                facts.heartbeat_ms = first.and_then(|row| milliseconds(row, "behind"));
            }
            Question::Followers => facts.followers = Some(rows.iter().map(follower).collect()),
        }
    }

    /// What a row of variables says of what there is and what was applied.
    fn positions(&self, row: Row<'_>) -> (Option<Gtids>, Option<Gtids>) {
        if !self.is_mariadb {
            let text = row.text(&["gtid_executed"]);
            let set = text.and_then(|text| MySqlGtids::parse(text).ok()).map(Gtids::MySql);
            return (set.clone(), set);
        }
        let position = |name: &str| MariaDbPosition::parse(row.text(&[name])?).ok();
        let applied = position("gtid_slave_pos");
        // The binary log has what was written here, and what was applied only where it logs that
        // too; there it may come before reads see it.
        let has = position("gtid_binlog_pos").map(|mut has| {
            if let Some(applied) = &applied {
                // Past the bound the later half of it does.
                has.merge(applied).unwrap_or_default();
            }
            Gtids::MariaDb(has)
        });
        (has, applied.map(Gtids::MariaDb))
    }

    fn read_positions(&self, row: Row<'_>, facts: &mut Facts) {
        (facts.gtids, facts.applied) = self.positions(row);
        facts.gtid_mode = row.text(&["gtid_mode"]).map(|it| it == "ON");
        facts.log_bin = row.text(&["log_bin"]).map(is_on);
    }

    fn read_variables(&self, row: Row<'_>, facts: &mut Facts) {
        let flag = |name: &str| row.text(&[name]).map(is_on);
        facts.read_only = flag("read_only");
        facts.super_read_only = flag("super_read_only");
        facts.innodb_read_only = flag("innodb_read_only");
        facts.uuid = row.text(&["server_uuid"]).map(Box::from);
        facts.server_id = row.number(&["server_id"]);
        self.read_positions(row, facts);
        if self.has_galera && flag("wsrep_on") == Some(true) {
            let is_desynced = flag("wsrep_desync") == Some(true);
            facts.galera = Some(Node { is_synced: false, is_desynced });
        }
    }
}

fn channel(row: Row<'_>) -> Channel {
    let text = |names: &[&str]| row.text(names).unwrap_or_default();
    let thread = |names: &[&str]| match text(names) {
        "Yes" => Thread::Running,
        "No" | "" => Thread::Stopped,
        // "Connecting", and "Preparing" of MariaDB.
        _ => Thread::Connecting,
    };
    let errors = [&["Last_SQL_Error"], &["Last_IO_Error"]].map(|name| text(name));
    let error = errors.into_iter().find(|error| !error.is_empty()).unwrap_or_default();
    Channel {
        name: text(&["Channel_Name", "Connection_name"]).into(),
        host: text(&["Source_Host", "Master_Host"]).into(),
        port: row.number(&["Source_Port", "Master_Port"]),
        uuid: row.text(&["Source_UUID", "Master_UUID"]).filter(|it| !it.is_empty()).map(Box::from),
        server_id: row.number(&["Source_Server_Id", "Master_Server_Id"]).filter(|id| *id != 0),
        io: thread(&["Replica_IO_Running", "Slave_IO_Running"]),
        sql: thread(&["Replica_SQL_Running", "Slave_SQL_Running"]),
        behind_s: row.number(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
        error: error.chars().filter(|it| !it.is_control()).take(ERROR_CHARS_MAX).collect(),
    }
}

/// Its own line of the group's view, and how many of the others it reaches.
fn member(rows: &Rows, uuid: Option<&str>) -> Option<Member> {
    let own = rows.iter().find(|row| {
        uuid.is_some_and(|uuid| {
            row.text(&["MEMBER_ID"]).is_some_and(|it| it.eq_ignore_ascii_case(uuid))
        })
    })?;
    let state = own.text(&["MEMBER_STATE"]).unwrap_or_default();
    if state == "OFFLINE" {
        return None;
    }
    let all = rows.iter().count();
    let reached = rows.iter().filter(|row| row.text(&["MEMBER_STATE"]) != Some("UNREACHABLE"));
    Some(Member {
        is_online: state == "ONLINE",
        is_primary: own.text(&["MEMBER_ROLE"]) == Some("PRIMARY"),
        has_quorum: 2 * reached.count() > all,
        lag_ms: milliseconds(own, "behind"),
    })
}

fn follower(row: Row<'_>) -> Follower {
    Follower {
        server_id: row.number(&["Server_Id"]),
        uuid: row.text(&["Replica_UUID", "Slave_UUID"]).filter(|it| !it.is_empty()).map(Box::from),
        host: row.text(&["Host"]).unwrap_or_default().into(),
        port: row.number(&["Port"]).unwrap_or(0),
    }
}

/// A column of microseconds; clocks that differ make it negative.
fn milliseconds(row: Row<'_>, name: &str) -> Option<u32> {
    let micros: i64 = row.number(&[name])?;
    Some(u32::try_from((micros / 1000).max(0)).unwrap_or(u32::MAX))
}

/// `read_only` is a word of several since MariaDB 12.
fn is_on(value: &str) -> bool {
    !matches!(value, "0" | "") && !value.eq_ignore_ascii_case("OFF")
}

/// There only while the plugin is loaded, and empty unless it is set up.
const GROUP: &str = "group_replication_group_name";

const WANTED: [&str; 13] = [
    "read_only",
    "super_read_only",
    "innodb_read_only",
    "server_uuid",
    "server_id",
    "gtid_executed",
    "gtid_binlog_pos",
    "gtid_slave_pos",
    "gtid_mode",
    "log_bin",
    "wsrep_on",
    "wsrep_desync",
    GROUP,
];

/// Those of [`WANTED`] that are positions.
const POSITIONS: [&str; 3] = ["gtid_executed", "gtid_binlog_pos", "gtid_slave_pos"];
/// Those that say what a position leaves out.
const BEHIND_IT: [&str; 2] = ["gtid_mode", "log_bin"];

/// `SHOW REPLICA STATUS` and `SHOW REPLICAS`.
const NEW_WORDS: [u16; 3] = [8, 0, 22];
/// `MEMBER_ROLE`.
const MEMBER_ROLES: [u16; 3] = [8, 0, 2];

const GROUP_STATUS: &str = "SELECT MEMBER_ID, MEMBER_STATE, MEMBER_ROLE, \
     (SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, \
     APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP, NOW(6))), 0) \
     FROM performance_schema.replication_applier_status_by_worker \
     WHERE CHANNEL_NAME = 'group_replication_applier' AND APPLYING_TRANSACTION <> '') AS behind \
     FROM performance_schema.replication_group_members";
/// The role is a status variable, empty where every member is a primary. There is no lag.
const GROUP_STATUS_5_7: &str = "SELECT MEMBER_ID, MEMBER_STATE, IF((SELECT VARIABLE_VALUE \
     FROM performance_schema.global_status \
     WHERE VARIABLE_NAME = 'group_replication_primary_member') IN ('', MEMBER_ID), \
     'PRIMARY', 'SECONDARY') AS MEMBER_ROLE FROM performance_schema.replication_group_members";
const GALERA_STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN \
     ('wsrep_local_state', 'wsrep_cluster_status', 'wsrep_ready')";

const ERROR_CHARS_MAX: usize = 200;
