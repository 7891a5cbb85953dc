//! Passwords and their hashes.
//!
//! Purpose: turn the one password key of an account into a [`Secret`].
//! Never: let a secret into a problem's text.

use super::expand::is_variable_name;
use super::problem::Place;
use super::raw::{At, Document, Table};
use super::types::Secret;

/// The secret of a client's account: a password, or one plugin's hash of it.
pub(super) fn of_user(document: &Document<'_>, table: &Table<'_>) -> Option<Secret> {
    let keys = ["password", "password_native", "password_sha2", "password_env", "password_file"];
    exactly_one(document, table, &keys)
}

/// The secret of an account Weir itself logs in with. Neither plugin's stored hash can do that:
/// a server asks for what the hash was made of.
pub(super) fn of_monitor(document: &Document<'_>, table: &Table<'_>) -> Option<Secret> {
    exactly_one(document, table, &["password", "password_env", "password_file"])
}

fn exactly_one(document: &Document<'_>, table: &Table<'_>, keys: &[&str]) -> Option<Secret> {
    let mut secret = None;
    let mut first: Option<Place> = None;
    for key in keys {
        let Some(given) = table.mixed(key) else { continue };
        // Read even if it is one too many: its own mistakes are reported too.
        let read = read(document, table, key);
        if let Some(first) = &first {
            let message = format!("a second secret: {} on line {} is one", first.path, first.line);
            document.reject(&given.place, message);
        } else {
            secret = read;
            first = Some(given.place);
        }
    }
    if first.is_none() {
        document.reject(&table.place(), format!("needs one of {}", keys.join(", ")));
    }
    secret
}

fn read(document: &Document<'_>, table: &Table<'_>, key: &str) -> Option<Secret> {
    let At { value: text, mut place } = table.text(key)?;
    if key == "password_env" && !is_variable_name(&text) {
        // Likely the password itself, under the wrong key.
        place.found.clear();
    }
    let secret = match key {
        "password_native" => native_hash(&text)
            .map(Secret::NativeHash)
            .ok_or_else(|| "must be \"*\" and 40 hexadecimal digits".to_owned()),
        "password_sha2" => hex(&text)
            .map(Secret::Sha2Hash)
            .ok_or_else(|| "must be 64 hexadecimal digits".to_owned()),
        "password_env" => variable(document, &text),
        "password_file" => file(document, &text),
        // Written as "", not emptied by a variable.
        _ if table.mixed(key).is_some_and(|raw| raw.value.as_str() == Some("")) => {
            Ok(Secret::Empty)
        }
        _ => clear(text),
    };
    secret.map_err(|message| document.reject(&place, message)).ok()
}

fn variable(document: &Document<'_>, name: &str) -> Result<Secret, String> {
    if !is_variable_name(name) {
        return Err("must be the name of an environment variable".to_owned());
    }
    let content = document.lookup.variable(name);
    clear(content.ok_or("names an environment variable that is not set")?)
}

fn file(document: &Document<'_>, path: &str) -> Result<Secret, String> {
    let content = document.lookup.file(path).map_err(|error| format!("cannot be read: {error}"))?;
    let line = content.strip_suffix('\n').unwrap_or(&content);
    clear(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// A password. Empty ones come from a variable or file that lost its content far more often than
/// from an account without a password, which everybody could then use.
fn clear(text: String) -> Result<Secret, String> {
    if text.is_empty() {
        return Err("gives an empty password; an account without one says password = \"\"".into());
    }
    if text.contains('\0') {
        return Err("gives a password with a NUL byte, which clients cannot send".to_owned());
    }
    Ok(Secret::Clear(text.into_bytes()))
}

/// `*` and 40 hexadecimal digits, as `mysql.user` shows `mysql_native_password`'s hash.
fn native_hash(text: &str) -> Option<[u8; 20]> {
    hex(text.strip_prefix('*')?)
}

/// Exactly `N` bytes in hexadecimal digits of either case.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_of_the_right_length() {
        assert_eq!(hex("00fFa0"), Some([0, 255, 160]));
        for wrong in ["", "00ff", "00ffa00", "00ffag", "+0ffa0", "ü0ffa"] {
            assert_eq!(hex::<3>(wrong), None, "{wrong}");
        }
        assert_eq!(native_hash(&"a1".repeat(20)), None);
        assert_eq!(native_hash(&format!("*{}", "a1".repeat(20))), Some([0xa1; 20]));
    }

    #[test]
    fn an_empty_password_is_not_taken_from_elsewhere() {
        assert!(clear(String::new()).is_err());
        assert!(clear("a\0b".to_owned()).is_err());
        assert_eq!(clear("p".to_owned()), Ok(Secret::Clear("p".into())));
    }
}
