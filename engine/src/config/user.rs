//! Accounts clients log in with.
//!
//! Purpose: the keys of `[[user]]`, those that several kinds of accounts have, and what bounds users.
//! Never: read a secret; `secret` does.

use std::net::IpAddr;

use ipnet::IpNet;

use super::default::{CONNECTIONS_MAX, Key, Kind, USER_NAME};
use super::raw::{At, Table};
use super::types::UserRules;
use super::words::words;
use crate::base::Consistency;

/// The bounds of a user.
pub(super) fn rules(table: &Table<'_>) -> UserRules {
    let networks = texts(table, "networks").unwrap_or_default();
    let networks = networks.into_iter().filter_map(|At { value, place }| {
        let network = network(&value);
        if network.is_none() {
            table.reject_value("networks", &place);
        }
        network
    });
    let schemas = texts(table, "schemas");
    UserRules {
        networks: networks.collect(),
        schemas: schemas.map(|names| names.into_iter().map(|name| name.value).collect()),
        connections_max: table.integer("connections_max").value,
        read_only: table.flag("read_only"),
        consistency: table.word("consistency").flatten(),
    }
}

/// A list of texts, none of them empty; an empty list is a mistake, for nobody could do anything.
fn texts(table: &Table<'_>, key: &str) -> Option<Vec<At<String>>> {
    let are_some = |texts: &[&str]| !texts.is_empty() && !texts.contains(&"");
    let At { value, place } = table.texts(key, are_some)?;
    Some(value.into_iter().filter_map(|text| table.expanded(text, place.clone())).collect())
}

/// A network, or an address alone.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(|network| network.trunc())
}

pub(super) const USER: &[Key] = &[
    Key::required("name", USER_NAME, "\"app\"", "Account name, as clients send it."),
    PASSWORD,
    Key::secret(
        "password_native",
        "\"*\" and 40 hexadecimal digits",
        "\"*6D8E7CA2D13CBEBC74BE7EF3A2976000952DCE92\"",
        "SHA1(SHA1(password)), as mysql.user shows it. Enough for clients and backends with \
         mysql_native_password. Backends with caching_sha2_password need the password itself: it is \
         asked of clients with caching_sha2_password that use TLS or a unix socket, and remembered.",
    ),
    Key::secret(
        "password_sha2",
        "64 hexadecimal digits",
        "\"2ba9f15fcdcd7c3d2fa6bac0f2c78b5a9c583c9f345187eb117e004715dafafc\"",
        "SHA256(SHA256(password)): clients need caching_sha2_password. They are asked for the \
         password itself, which is remembered: a backend may want it.",
    ),
    PASSWORD_ENV,
    PASSWORD_FILE,
    Key {
        name: "networks",
        kind: Kind::Other {
            accepted: "a list of networks and addresses such as [\"10.0.0.0/8\", \"::1\"]",
            default: None,
            example: "[\"10.0.0.0/8\", \"127.0.0.1\"]",
            required: false,
        },
        doc: "Where clients of the account may come from; others are told that the password is wrong. \
              A unix socket is 127.0.0.1. Without it, from everywhere.",
    },
    Key {
        name: "schemas",
        kind: Kind::Other {
            accepted: "a list of names such as [\"shop\"]",
            default: None,
            example: "[\"shop\", \"stock\"]",
            required: false,
        },
        doc: "Schemas the account may enter, at its login, by COM_INIT_DB, USE (in statements of up to \
              16 KiB) or COM_CHANGE_USER; others get error 1044. Names are compared byte by byte. What \
              a statement names, as other.t, is up to the server's grants. Without it, all.",
    },
    Key::integer(
        "connections_max",
        0,
        (0, CONNECTIONS_MAX),
        "Sessions of the account, over all workers; more get error 1226. 0 is no bound.",
    ),
    Key::flag(
        "read_only",
        "The account's sessions begin with SET SESSION TRANSACTION READ ONLY, so that the server \
         refuses what they write (error 1792), but to temporary tables. Statements that could end \
         that get error 1290 from Weir: they set transaction_read_only or tx_read_only, say READ \
         WRITE, or are PREPARE or EXECUTE, whose text Weir cannot see; so do statements above 1 MiB. \
         A stored program that ends it by itself is not stopped: grants are. COM_RESET_CONNECTION \
         takes one more answer of the server; backend connections are not kept for others.",
    ),
    Key::word(
        "consistency",
        words::<Option<Consistency>>,
        "How fresh reads of the account's sessions are, instead of what their endpoint says, whose \
         consistency explains the words. It does nothing where the endpoint has mode = \
         \"read-only\". Without it, the endpoint's.",
    ),
];

pub(super) const PASSWORD: Key = Key::secret(
    "password",
    "a string",
    "\"change-me\"",
    "The password itself. \"\" is an account without one.",
);
pub(super) const PASSWORD_ENV: Key = Key::alternative(
    "password_env",
    "the name of an environment variable that is set",
    "\"WEIR_PASSWORD\"",
    "The environment variable that holds the password.",
);
pub(super) const PASSWORD_FILE: Key = Key::alternative(
    "password_file",
    "the path of a readable file",
    "\"/run/secrets/weir\"",
    "The file that holds the password; one line end at its end is ignored. A relative path \
     starts at the folder of the configuration file.",
);
