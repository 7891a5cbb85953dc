//! Rules about single files.
//!
//! Purpose: headers, sizes, unsafe code, paths of somebody's machine, undocumented fuzz targets.
//! Never: look at how files relate; `layering` and `reach` do.

use super::code::lines_with;
use super::{Breach, Tree};
use crate::fuzz::bin_names;

const LINES_MAX: usize = 700;
const BLOB_BYTES_MAX: u64 = 200 * 1024;
/// Where `unsafe` and `libc` may be; everything else is safe code.
const UNSAFE_ALLOWED: [&str; 3] = ["engine/src/io/", "engine/src/bpf/", "ebpf/src/main.rs"];
/// Folders that exist on one person's machine. In pieces, so that this file obeys the rule.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

pub(super) fn check(tree: &Tree, breaches: &mut Vec<Breach>) {
    headers(tree, breaches);
    sizes(tree, breaches);
    unsafe_code(tree, breaches);
    machine_paths(tree, breaches);
    fuzz_targets(tree, breaches);
}

fn headers(tree: &Tree, breaches: &mut Vec<Breach>) {
    for file in tree.rust() {
        if !file.text.starts_with("//!") {
            breaches.push(file.breach(1, "begin with a `//!` header: purpose, what it never does"));
        }
    }
}

fn sizes(tree: &Tree, breaches: &mut Vec<Breach>) {
    for file in &tree.files {
        let lines = file.text.lines().count();
        if file.is_rust() && lines > LINES_MAX {
            breaches.push(file.breach(0, format!("{lines} lines; split above {LINES_MAX}")));
        }
        if file.bytes > BLOB_BYTES_MAX {
            breaches.push(file.breach(0, format!("{} KiB; keep blobs out", file.bytes / 1024)));
        }
    }
}

fn unsafe_code(tree: &Tree, breaches: &mut Vec<Breach>) {
    for file in tree.rust() {
        if UNSAFE_ALLOWED.iter().any(|allowed| file.path.starts_with(allowed)) {
            continue;
        }
        for word in ["unsafe", "libc"] {
            for line in lines_with(&file.code, word) {
                breaches.push(file.breach(line, format!("`{word}` belongs in io and bpf only")));
            }
        }
    }
}

fn machine_paths(tree: &Tree, breaches: &mut Vec<Breach>) {
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
                breaches.push(file.breach(index + 1, format!("`{path}` is a path of one machine")));
            }
        }
    }
}

fn fuzz_targets(tree: &Tree, breaches: &mut Vec<Breach>) {
    let Some(manifest) = tree.get("engine/fuzz/Cargo.toml") else { return };
    for name in bin_names(&manifest.text) {
        let documented = tree.files.iter().any(|file| {
            file.path.ends_with(".md")
                && (file.path.starts_with("docs/") || !file.path.contains('/'))
                && file.text.contains(&format!("`{name}`"))
        });
        if !documented {
            breaches.push(manifest.breach(0, format!("fuzz target `{name}` is in no document")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn a_file_without_header_is_found() {
        assert_eq!(said(headers, &[("a.rs", "//! A.\n"), ("b.txt", "x")]), [""; 0]);
        assert_eq!(said(headers, &[("a.rs", "use b;\n//! A.\n")]).len(), 1);
    }

    #[test]
    fn long_files_and_blobs_are_found() {
        let long = "\n".repeat(701);
        assert_eq!(said(sizes, &[("a.rs", &long)]), ["a.rs: 701 lines; split above 700"]);
        assert_eq!(said(sizes, &[("a.md", &long)]), [""; 0]);
        let blob = "x".repeat(201 * 1024);
        assert_eq!(said(sizes, &[("a.bin", &blob)]), ["a.bin: 201 KiB; keep blobs out"]);
    }

    #[test]
    fn unsafe_code_outside_io_is_found() {
        let text = "//! No unsafe here.\nfn f() { unsafe { libc::x() } }";
        assert_eq!(said(unsafe_code, &[("engine/src/io/ring.rs", text)]), [""; 0]);
        assert_eq!(
            said(unsafe_code, &[("engine/src/wire/frame.rs", text)]),
            [
                "engine/src/wire/frame.rs:2: `unsafe` belongs in io and bpf only",
                "engine/src/wire/frame.rs:2: `libc` belongs in io and bpf only",
            ]
        );
        assert_eq!(said(unsafe_code, &[("a.rs", "#![forbid(unsafe_code)]")]), [""; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let text = format!("see {}me/x", MACHINE_PATHS.first().unwrap());
        assert_eq!(said(machine_paths, &[("docs/a.md", &text)]).len(), 1);
        assert_eq!(said(machine_paths, &[("docs/a.md", "see docs/b.md")]), [""; 0]);
    }

    #[test]
    fn an_undocumented_fuzz_target_is_found() {
        let manifest = ("engine/fuzz/Cargo.toml", "[[bin]]\nname = \"frame\"\n");
        assert_eq!(
            said(fuzz_targets, &[manifest, ("docs/a.md", "frames")]),
            ["engine/fuzz/Cargo.toml: fuzz target `frame` is in no document"]
        );
        assert_eq!(said(fuzz_targets, &[manifest, ("docs/a.md", "- `frame`: x")]), [""; 0]);
    }
}
