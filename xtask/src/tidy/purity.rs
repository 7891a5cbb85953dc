//! What pure modules must not touch.
//!
//! Purpose: keep the machines deterministic, so that a seed repeats a run and a fuzzer a crash.
//! Never: forbid plain types such as `SocketAddr`; they are values.

use super::code::lines_with;
use super::layering::{MODULES, is_test_file, module_of};
use super::{Breach, Tree};

/// Clocks, files, threads, sockets, processes, logs, randomness and other runtimes.
const FORBIDDEN: [&str; 17] = [
    "tracing",
    "tokio",
    "tokio_uring",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "Instant",
    "SystemTime",
    "thread_local",
];

pub(super) fn check(tree: &Tree, breaches: &mut Vec<Breach>) {
    for file in tree.rust() {
        let Some(name) = module_of(tree, &file.path) else { continue };
        let pure = MODULES.iter().any(|module| module.pure && module.name == name);
        if !pure || is_test_file(&file.path) {
            continue;
        }
        for word in FORBIDDEN {
            for line in lines_with(&file.code, word) {
                breaches.push(file.breach(line, format!("`{word}` in the pure module `{name}`")));
            }
        }
        // Grouped imports would hide a name from the list above.
        for (index, line) in file.code.lines().enumerate() {
            if ["std::{", "std::net::{", "std::io::{"].iter().any(|group| line.contains(group))
                && !only_plain_types(line)
            {
                breaches.push(file.breach(index + 1, "write imports of std one by one here"));
            }
        }
        let root = [format!("engine/src/{name}/mod.rs"), format!("engine/src/{name}.rs")];
        if root.contains(&file.path) && !file.code.contains("#![forbid(unsafe_code)]") {
            breaches.push(file.breach(0, "a pure module says `#![forbid(unsafe_code)]`"));
        }
    }
}

/// A group of addresses, readers and writers is harmless.
fn only_plain_types(line: &str) -> bool {
    const PLAIN: [&str; 12] = [
        "SocketAddr",
        "SocketAddrV4",
        "SocketAddrV6",
        "IpAddr",
        "Ipv4Addr",
        "Ipv6Addr",
        "Read",
        "Write",
        "BufRead",
        "Cursor",
        "Error",
        "ErrorKind",
    ];
    let Some((_, rest)) = line.split_once("::{") else { return false };
    let Some((group, _)) = rest.split_once('}') else { return false };
    !line.contains("std::{") && group.split(',').all(|item| PLAIN.contains(&item.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn every_impurity_is_found() {
        for word in FORBIDDEN {
            let text = format!("fn f() {{ {word}::x() }}");
            let found = said(check, &[("engine/src/wire/a.rs", &text)]);
            assert!(found.iter().any(|line| line.contains(&format!("`{word}`"))), "{word}");
        }
    }

    #[test]
    fn kernel_modules_tests_and_plain_types_are_fine() {
        for (path, text) in [
            ("engine/src/io/a.rs", "use std::fs::File;"),
            ("engine/src/wire/tests.rs", "use std::thread::spawn;"),
            ("engine/src/wire/a.rs", "use std::net::{IpAddr, SocketAddr};"),
            ("engine/src/wire/a.rs", "//! Takes no Instant.\nuse std::time::Duration;"),
            ("engine/src/wire/a.rs", "#[cfg(test)]\nmod tests { use std::thread::spawn; }"),
        ] {
            assert_eq!(said(check, &[(path, text)]), [""; 0], "{text}");
        }
    }

    #[test]
    fn grouped_imports_and_a_missing_forbid_are_found() {
        let grouped = said(check, &[("engine/src/wire/a.rs", "use std::{fs, thread};")]);
        assert_eq!(grouped, ["engine/src/wire/a.rs:1: write imports of std one by one here"]);
        let forbid = said(check, &[("engine/src/wire/mod.rs", "//! W.\nmod a;")]);
        assert_eq!(
            forbid,
            ["engine/src/wire/mod.rs: a pure module says `#![forbid(unsafe_code)]`"]
        );
    }
}
