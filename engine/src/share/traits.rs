//! What a server said of itself, before sessions used a connection to it.
//!
//! Purpose: the facts by which its answers to some commands are known beforehand.
//! Never: hold what a session may have changed: that is in its settings.

use std::sync::Arc;

use crate::share::question::{Asked, Question};
use crate::share::settings::Settings;
use crate::sql::Server;
use crate::wire::reply::Tracked;

/// Facts about a server, the same for all sessions of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Its kind and version.
    pub server: Server,
    /// What its clients are told of changes, unless they ask for more.
    pub tracked: Arc<Tracked>,
    /// It tells of transactions: its global `session_track_transaction_info` is not OFF.
    pub tracks_transactions: bool,
    /// The collation that SET NAMES utf8mb4 chooses, where no variable of the session says so.
    pub utf8mb4_collation: Vec<u8>,
    /// What it answers to `SELECT @@version_comment` as long as nothing was set.
    pub version_comment: Option<VersionComment>,
}

/// The answer's column, as it is defined, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionComment {
    /// The payload of the column definition.
    pub definition: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl Traits {
    /// Of a server of which nothing more is known.
    #[must_use]
    pub fn of(server: Server) -> Self {
        Self {
            server,
            tracked: Arc::default(),
            tracks_transactions: true,
            utf8mb4_collation: Vec::new(),
            version_comment: None,
        }
    }

    /// From its answers to [`asked_of_server`].
    #[must_use]
    pub fn told(server: Server, question: &Question) -> Self {
        let of = |wanted: &Asked| question.answer_to(wanted);
        let is_on = |wanted: &Asked| of(wanted).is_some_and(|it| it == b"ON");
        let [variables, schema, state_change, transactions] = TRACKED;
        let version_comment = of(&Asked::VersionComment).and_then(|value| {
            let definition = question.version_comment_definition()?.to_vec();
            Some(VersionComment { definition, value })
        });
        Self {
            server,
            tracked: Arc::new(Tracked {
                variables: of(&variables).unwrap_or_default(),
                schema: is_on(&schema),
                state_change: is_on(&state_change),
                gtids: of(&TRACKED_GTIDS).is_some_and(|it| it != b"OFF"),
            }),
            tracks_transactions: of(&transactions).is_none_or(|it| it != b"OFF"),
            utf8mb4_collation: of(&Asked::Utf8mb4Collation).unwrap_or_default(),
            version_comment,
        }
    }

    /// Whether it is MariaDB.
    #[must_use]
    pub const fn is_mariadb(&self) -> bool {
        matches!(self.server, Server::MariaDb(_))
    }

    /// The collation that SET NAMES utf8mb4 chooses in a session with these settings.
    #[must_use]
    pub fn utf8mb4_collation<'a>(&'a self, settings: &'a Settings) -> Option<&'a [u8]> {
        // MariaDB's way to choose others.
        if settings.variable(b"character_set_collations").is_some() {
            return None;
        }
        let own = settings.variable(DEFAULT_COLLATION);
        Some(own.unwrap_or(&self.utf8mb4_collation)).filter(|it| !it.is_empty())
    }
}

const DEFAULT_COLLATION: &[u8] = b"default_collation_for_utf8mb4";

const TRACKED: [Asked; 4] = [
    Asked::Variable(b"GLOBAL.session_track_system_variables"),
    Asked::Switch(b"GLOBAL.session_track_schema"),
    Asked::Switch(b"GLOBAL.session_track_state_change"),
    Asked::Variable(b"GLOBAL.session_track_transaction_info"),
];

/// MySQL's alone.
const TRACKED_GTIDS: Asked = Asked::Variable(b"GLOBAL.session_track_gtids");

/// What a new connection, or one that was reset, is asked for: what no reset restores, and what the
/// handshake or the server's global values decide.
#[must_use]
pub fn base(server: Server, has_roles: bool) -> Vec<Asked> {
    const DEFAULT_COLLATION_SINCE: u32 = 80_011;
    let [isolation, read_only] = transaction_names(server)[0];
    let mut asked = vec![Asked::Schema];
    if has_roles {
        asked.push(Asked::Roles);
    }
    let switches = [&b"autocommit"[..], b"sql_auto_is_null", read_only];
    asked.extend(switches.map(Asked::Switch));
    for name in [
        &b"character_set_client"[..],
        b"character_set_connection",
        b"character_set_results",
        b"collation_connection",
        b"completion_type",
        b"sql_mode",
        b"time_zone",
        b"wait_timeout",
        isolation,
    ] {
        asked.push(Asked::Variable(name));
    }
    if matches!(server, Server::MySql(version) if version >= DEFAULT_COLLATION_SINCE) {
        asked.push(Asked::Variable(DEFAULT_COLLATION));
    }
    asked
}

/// The variables of isolation level and access mode, by the names that every server of that kind
/// knows; and by those that MariaDB 11.1 has besides, as variables of their own with the same value.
pub(super) const fn transaction_names(server: Server) -> [[&'static [u8]; 2]; 2] {
    let old: [&[u8]; 2] = [b"tx_isolation", b"tx_read_only"];
    let new: [&[u8]; 2] = [b"transaction_isolation", b"transaction_read_only"];
    if matches!(server, Server::MariaDb(_)) { [old, new] } else { [new, old] }
}

/// What a server is asked besides, about itself.
#[must_use]
pub fn asked_of_server(server: Server) -> Vec<Asked> {
    let mut asked = TRACKED.to_vec();
    if matches!(server, Server::MySql(_)) {
        asked.push(TRACKED_GTIDS);
    }
    asked.extend([Asked::Utf8mb4Collation, Asked::VersionComment]);
    asked
}
