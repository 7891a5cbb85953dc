//! `cargo xtask tidy`: house rules as a test.
//!
//! Purpose: say every breach of the rules that neither the compiler nor clippy knows.
//! Never: take longer than a moment, or change a file.

mod code;
mod files;
mod layering;
mod purity;
mod reach;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use weir_tests::workspace_root;

use crate::shell::say;

/// Folders that hold products, not sources.
const SKIPPED: [&str; 5] = ["target", ".git", ".weir", "corpus", "artifacts"];

pub(crate) fn run() -> Result<()> {
    let tree = Tree::load(&workspace_root())?;
    let breaches = check(&tree);
    for breach in &breaches {
        say(breach.to_string());
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules", breaches.len());
    }
    say(format!("tidy: {} files in order", tree.files.len()));
    Ok(())
}

fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    files::check(tree, &mut breaches);
    reach::check(tree, &mut breaches);
    layering::check(tree, &mut breaches);
    purity::check(tree, &mut breaches);
    breaches.sort();
    breaches
}

/// One rule broken in one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    path: String,
    /// From 1; 0 for the whole file.
    line: usize,
    what: String,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// A file of the working copy.
#[derive(Debug)]
struct File {
    /// From the root, with `/`.
    path: String,
    bytes: u64,
    /// Empty if it is not UTF-8.
    text: String,
    /// The text without comments, literals and test modules; only for Rust. Lines keep their
    /// numbers.
    code: String,
}

impl File {
    fn new(path: &str, text: String, bytes: u64) -> Self {
        let code = if path.ends_with(".rs") { code::strip(&text) } else { String::new() };
        Self { path: path.to_owned(), bytes, text, code }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn breach(&self, line: usize, what: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, what: what.into() }
    }
}

/// The working copy.
#[derive(Debug, Default)]
struct Tree {
    files: Vec<File>,
}

impl Tree {
    fn load(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries = fs::read_dir(folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.walk(&entry.path(), &format!("{prefix}{name}/"))?;
            } else if kind.is_file() && name != ".git" {
                let raw = fs::read(entry.path())?;
                let bytes = u64::try_from(raw.len())?;
                let text = String::from_utf8(raw).unwrap_or_default();
                self.files.push(File::new(&format!("{prefix}{name}"), text, bytes));
            }
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these files.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files
            .iter()
            .map(|(path, text)| File::new(path, (*text).to_owned(), text.len() as u64))
            .collect();
        Tree { files }
    }

    /// What one rule says about these files.
    pub(super) fn said(rule: fn(&Tree, &mut Vec<Breach>), files: &[(&str, &str)]) -> Vec<String> {
        let mut breaches = Vec::new();
        rule(&tree(files), &mut breaches);
        breaches.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_repository_is_in_order() {
        let tree = Tree::load(&workspace_root()).unwrap();
        let breaches: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
}
