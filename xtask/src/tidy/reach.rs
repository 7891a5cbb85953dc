//! Which `.rs` files are part of a program.
//!
//! Purpose: find files that no `mod` reaches; they look like code and are not compiled.
//! Never: follow `#[path]` or macros; the repository uses neither for modules.

use std::collections::BTreeSet;

use super::code::after;
use super::{Breach, Tree};

pub(super) fn check(tree: &Tree, breaches: &mut Vec<Breach>) {
    let mut reached = BTreeSet::new();
    let mut queue: Vec<(String, String)> = roots(tree);
    while let Some((path, folder)) = queue.pop() {
        let Some(file) = tree.get(&path) else { continue };
        if !reached.insert(path) {
            continue;
        }
        for line in file.code.lines().filter(|line| line.trim_end().ends_with(';')) {
            for name in after(line, "mod ").filter(|name| !name.is_empty()) {
                queue.push((format!("{folder}{name}.rs"), format!("{folder}{name}/")));
                queue.push((format!("{folder}{name}/mod.rs"), format!("{folder}{name}/")));
            }
        }
    }
    for file in tree.rust().filter(|file| !reached.contains(&file.path)) {
        breaches.push(file.breach(0, "no `mod` reaches this file"));
    }
}

/// Root files of all targets, with the folder their modules are in.
fn roots(tree: &Tree) -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for manifest in tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let package = manifest.path.trim_end_matches("Cargo.toml");
        let named = manifest.text.lines().filter_map(|line| {
            let value = line.trim_start().strip_prefix("path")?.trim_start().strip_prefix('=')?;
            value.split('"').nth(1).filter(|path| path.ends_with(".rs"))
        });
        let usual = ["src/lib.rs", "src/main.rs", "build.rs"];
        let mut paths: Vec<String> =
            named.chain(usual).map(|path| format!("{package}{path}")).collect();
        // Found by cargo without a word in the manifest.
        for folder in ["src/bin/", "tests/", "benches/", "examples/"] {
            let prefix = format!("{package}{folder}");
            paths.extend(tree.rust().map(|file| file.path.clone()).filter(|path| {
                path.strip_prefix(&prefix)
                    .is_some_and(|rest| !rest.contains('/') || is_folder_target(rest))
            }));
        }
        roots.extend(paths.into_iter().map(|path| {
            let folder = path.rfind('/').map_or("", |end| path.get(..=end).unwrap_or(""));
            (path.clone(), folder.to_owned())
        }));
    }
    roots
}

/// `name/main.rs` below a folder of targets.
fn is_folder_target(rest: &str) -> bool {
    rest.split_once('/').is_some_and(|(_, file)| file == "main.rs")
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn a_file_no_mod_reaches_is_found() {
        let manifest =
            ("p/Cargo.toml", "[lib]\npath = \"load/lib.rs\"\n[[bin]]\npath = \"b/x.rs\"");
        let files = [
            manifest,
            ("p/load/lib.rs", "mod a;\n// mod dead;\npub(crate) mod b;"),
            ("p/load/a.rs", "mod c;\n#[cfg(test)]\nmod tests;"),
            ("p/load/a/c.rs", ""),
            ("p/load/a/tests.rs", ""),
            ("p/load/b/mod.rs", "mod d;"),
            ("p/load/b/d.rs", ""),
            ("p/b/x.rs", ""),
            ("p/tests/found.rs", ""),
            ("p/tests/folder/main.rs", "mod e;"),
            ("p/tests/folder/e.rs", ""),
            ("p/load/dead.rs", ""),
            ("p/load/c.rs", ""),
        ];
        assert_eq!(
            said(check, &files),
            [
                "p/load/dead.rs: no `mod` reaches this file",
                "p/load/c.rs: no `mod` reaches this file"
            ]
        );
    }
}
