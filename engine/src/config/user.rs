//! Accounts clients log in with.
//!
//! Purpose: the keys of `[[user]]`, and those that several kinds of accounts have.
//! Never: read them; `check` does.

use super::default::{Key, USER_NAME};

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
