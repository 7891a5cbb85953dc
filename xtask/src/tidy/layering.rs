//! Which module of the engine may import which.
//!
//! Purpose: the module map of ARCHITECTURE.md as a table that is enforced.
//! Never: follow re-exports; imports are written `crate::module::Item`, so one look is enough.

use super::code::{after, lines_with};
use super::{Breach, File, Tree};

/// A module of the engine.
pub(super) struct Module {
    pub(super) name: &'static str,
    /// No clocks, files, threads, sockets or logs in it.
    pub(super) pure: bool,
    /// What it may import besides `base` and itself.
    may: &'static [&'static str],
}

const fn pure(name: &'static str, may: &'static [&'static str]) -> Module {
    Module { name, pure: true, may }
}

const fn kernel(name: &'static str, may: &'static [&'static str]) -> Module {
    Module { name, pure: false, may }
}

/// In rank order; each imports only from above itself.
pub(super) const MODULES: &[Module] = &[
    pure("base", &[]),
    pure("wire", &[]),
    pure("sql", &[]),
    pure("share", &["wire", "sql"]),
    pure("config", &[]),
    kernel("observe", &[]),
    kernel("io", &[]),
    pure("tls", &["config"]),
    pure("auth", &["wire", "config"]),
    pure("topology", &["wire", "config"]),
    pure("route", &["sql", "topology", "config"]),
    pure("pool", &["wire", "share", "auth", "config"]),
    pure("failover", &["topology", "config"]),
    kernel("bpf", &["topology", "config"]),
    pure("session", &["wire", "sql", "share", "auth", "route", "config"]),
    kernel(
        "bus",
        &["share", "config", "observe", "io", "tls", "auth", "topology", "route", "pool"],
    ),
    pure("admin", &["wire", "sql", "config", "topology", "route"]),
    kernel(
        "worker",
        &[
            "wire", "sql", "share", "config", "observe", "io", "tls", "auth", "topology", "route",
            "pool", "failover", "session", "bus",
        ],
    ),
    kernel(
        "control",
        &[
            "wire", "sql", "share", "config", "observe", "io", "tls", "auth", "topology", "route",
            "pool", "failover", "bpf", "bus", "admin",
        ],
    ),
    // Test support, compiled into the library because the fuzz workspace links it.
    pure("fuzz", &["wire", "sql", "config", "auth", "topology", "session"]),
    kernel("main", &["control", "worker", "config", "observe", "tls", "sql", "topology", "route"]),
];

/// Macros live at the crate's root whatever module they belong to.
const MACROS: &[(&str, &str)] = &[("log_limited", "observe")];

pub(super) fn check(tree: &Tree, breaches: &mut Vec<Breach>) {
    for file in tree.rust() {
        if let Some(name) = module_of(tree, &file.path) {
            check_file(tree, file, &name, breaches);
        }
    }
}

/// The module a file of the engine belongs to; files beside `lib.rs` that it does not declare
/// belong to the program, `main`.
pub(super) fn module_of(tree: &Tree, path: &str) -> Option<String> {
    let inside = path.strip_prefix("engine/src/")?;
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    if name == "lib" {
        return None;
    }
    let library = tree.get("engine/src/lib.rs").map_or("", |file| file.code.as_str());
    let declares = |line: &str| after(line, "mod ").any(|found| found == name);
    let declared = library.lines().any(declares);
    // Modules of tests have no rank.
    let for_tests = library.split("#[cfg(test)]").skip(1);
    if for_tests.filter_map(|rest| rest.split(';').next()).any(declares) {
        return None;
    }
    Some(if declared || inside.contains('/') { name } else { "main" }.to_owned())
}

/// Tests may reach across: they put machines together that production code must not.
pub(super) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn check_file(tree: &Tree, file: &File, name: &str, breaches: &mut Vec<Breach>) {
    let Some(module) = MODULES.iter().find(|module| module.name == name) else {
        breaches.push(file.breach(0, format!("module `{name}` is not in the module map")));
        return;
    };
    if is_test_file(&file.path) {
        return;
    }
    let root = if name == "main" { "weir::" } else { "crate::" };
    for (index, line) in file.code.lines().enumerate() {
        for target in after(line, root) {
            let owner = MACROS.iter().find(|(found, _)| *found == target);
            let target = owner.map_or(target, |(_, owner)| owner);
            if target.is_empty() {
                breaches.push(file.breach(index + 1, "write one `use` per module of the crate"));
            } else if target != name && target != "base" && !module.may.contains(&target) {
                let what = format!("`{name}` must not import `{target}`");
                breaches.push(file.breach(index + 1, what));
            }
        }
    }
    for (word, owner) in [("weir_ebpf", "bpf"), ("io_uring", "io")] {
        for line in lines_with(&file.code, word) {
            if name != owner && uses_crate(&file.code, line, word) {
                breaches.push(file.breach(line, format!("`{word}` belongs in `{owner}`")));
            }
        }
    }
    climbing(tree, file, breaches);
}

/// Whether the line names the crate, not a value of the same name.
fn uses_crate(code: &str, line: usize, word: &str) -> bool {
    let text = code.lines().nth(line - 1).unwrap_or_default();
    text.contains(&format!("{word}::")) || text.trim_start().starts_with("use ")
}

/// `super::` up to the root would bypass the table.
fn climbing(tree: &Tree, file: &File, breaches: &mut Vec<Breach>) {
    let Some(inside) = file.path.strip_prefix("engine/src/") else { return };
    let stem = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = stem.split('/').count();
    if tree.get("engine/src/lib.rs").is_none() || depth == 0 {
        return;
    }
    let chain = "super::".repeat(depth);
    for (index, line) in file.code.lines().enumerate() {
        if line.contains(&chain) {
            breaches.push(
                file.breach(index + 1, "write `crate::module::Item`, not `super::` to the root"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    const LIB: (&str, &str) = (
        "engine/src/lib.rs",
        "//! L.\npub mod wire;\npub mod io;\npub mod odd;\n#[cfg(test)]\nmod data;\n",
    );

    #[test]
    fn the_table_only_points_upwards() {
        for (rank, module) in MODULES.iter().enumerate() {
            for target in module.may {
                let found = MODULES.iter().position(|other| other.name == *target);
                assert!(found.is_some_and(|found| found < rank), "{} -> {target}", module.name);
            }
        }
    }

    #[test]
    fn a_forbidden_import_is_found() {
        let found = said(
            check,
            &[LIB, ("engine/src/wire/frame.rs", "use crate::io::Op;\nuse crate::base::Time;")],
        );
        assert_eq!(found, ["engine/src/wire/frame.rs:1: `wire` must not import `io`"]);
        let path = said(check, &[LIB, ("engine/src/wire/mod.rs", "fn f() -> crate::io::Op {}")]);
        assert_eq!(path, ["engine/src/wire/mod.rs:1: `wire` must not import `io`"]);
        let fine =
            said(check, &[LIB, ("engine/src/auth/mod.rs", "use crate::wire::Frame; // crate::io")]);
        assert_eq!(fine, [""; 0]);
    }

    #[test]
    fn grouped_and_climbing_imports_are_found() {
        let grouped = said(check, &[LIB, ("engine/src/wire/a.rs", "use crate::{io, base};")]);
        assert_eq!(grouped, ["engine/src/wire/a.rs:1: write one `use` per module of the crate"]);
        let climbing = said(check, &[LIB, ("engine/src/wire/a.rs", "use super::super::io::Op;")]);
        assert_eq!(climbing.len(), 1);
        let fine = said(check, &[LIB, ("engine/src/wire/a.rs", "use super::frame::Frame;")]);
        assert_eq!(fine, [""; 0]);
    }

    #[test]
    fn unknown_modules_and_misplaced_crates_are_found() {
        let unknown = said(check, &[LIB, ("engine/src/odd.rs", "")]);
        assert_eq!(unknown, ["engine/src/odd.rs: module `odd` is not in the module map"]);
        let ring = said(check, &[LIB, ("engine/src/worker/mod.rs", "use io_uring::IoUring;")]);
        assert_eq!(ring, ["engine/src/worker/mod.rs:1: `io_uring` belongs in `io`"]);
    }

    #[test]
    fn the_program_and_tests_have_rules_of_their_own() {
        let main = said(
            check,
            &[LIB, ("engine/src/cli.rs", "use weir::io::Op;\nuse weir::config::Config;")],
        );
        assert_eq!(main, ["engine/src/cli.rs:1: `main` must not import `io`"]);
        let tests = said(check, &[LIB, ("engine/src/wire/frame/tests.rs", "use crate::io::Op;")]);
        assert_eq!(tests, [""; 0]);
        let data = said(check, &[LIB, ("engine/src/data.rs", "use crate::io::Op;")]);
        assert_eq!(data, [""; 0]);
    }

    #[test]
    fn a_macro_counts_as_its_module() {
        let wire = said(check, &[LIB, ("engine/src/wire/a.rs", "use crate::log_limited;")]);
        assert_eq!(wire, ["engine/src/wire/a.rs:1: `wire` must not import `observe`"]);
        let worker = said(check, &[LIB, ("engine/src/worker/a.rs", "crate::log_limited!(x);")]);
        assert_eq!(worker, [""; 0]);
    }
}
