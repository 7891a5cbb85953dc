//! The table of keys as text for people.
//!
//! Purpose: print the sample file and the reference page, so that neither is written by hand.
//! Never: say anything about a key that `default` does not.

use super::default::{Key, SECTIONS, Section};

/// A commented file with every key, which `weir check` accepts as it is.
#[must_use]
pub fn sample() -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "A Weir configuration: every key with its default. Lines with a key behind a single # show \
         the default, or another way to say the same. In any string, ${NAME} is replaced by that \
         environment variable; $${ is a literal ${. Check a file with: weir check FILE",
    );
    for section in SECTIONS {
        if section.samples.is_empty() {
            text.push('\n');
            sample_comment(&mut text, section);
        }
        for (index, used) in section.samples.iter().enumerate() {
            text.push('\n');
            // Explained once; what follows repeats the table with other values.
            let explained = index == 0;
            if explained {
                comment(&mut text, section.doc);
            }
            text.push_str(&header(section));
            text.push('\n');
            for key in section.keys {
                sample_key(&mut text, key, used, explained);
            }
        }
    }
    text
}

/// A table that a file need not have.
fn sample_comment(text: &mut String, section: &Section) {
    comment(text, section.doc);
    text.push_str(&format!("# {}\n", header(section)));
    for key in section.keys {
        comment(text, &format!("{} Accepts {}.", key.doc, key.accepted()));
        text.push_str(&format!("# {} = {}\n", key.name, key.example()));
    }
}

fn sample_key(text: &mut String, key: &Key, used: &[(&str, &str)], explained: bool) {
    let value = used.iter().find(|(name, _)| *name == key.name).map(|(_, value)| *value);
    if explained {
        let accepted = if key.is_required() {
            format!("Required: {}.", key.accepted())
        } else {
            format!("Accepts {}.", key.accepted())
        };
        comment(text, &format!("{} {accepted}", key.doc));
    }
    let in_use = key.is_required() || value.is_some();
    if in_use || explained {
        let mark = if in_use { "" } else { "#" };
        let value = value.map_or_else(|| key.example(), str::to_owned);
        text.push_str(&format!("{mark}{} = {value}\n", key.name));
    }
}

/// The reference page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    for section in SECTIONS {
        text.push_str(&format!("\n## `{}`\n\n{}\n\n", header(section), sentences(section.doc)));
        text.push_str("| Key | Default | Accepts | Meaning |\n|---|---|---|---|\n");
        for key in section.keys {
            let default = match key.default() {
                Some(default) => format!("`{default}`"),
                None if key.is_required() => "required".to_owned(),
                None => "none".to_owned(),
            };
            let cells = [format!("`{}`", key.name), default, key.accepted(), key.doc.to_owned()];
            text.push_str(&format!(
                "| {} |\n",
                cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
            ));
        }
    }
    text
}

fn header(section: &Section) -> String {
    if section.many { format!("[[{}]]", section.path) } else { format!("[{}]", section.path) }
}

/// Comment lines, wrapped.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// One sentence per line.
fn sentences(words: &str) -> String {
    words.replace(". ", ".\n")
}

const WIDTH: usize = 100;

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the table of defaults by `cargo xtask docs`; do not edit. -->

`weir run FILE` starts with one TOML file.
`weir check FILE` prints every mistake with its line, its value and what is accepted, and ends with exit code 1.
`weir sample` prints a commented file with every key (`docs/weir.sample.toml`).

Unknown keys are mistakes.
In every string, `${NAME}` is replaced by the environment variable `NAME`, which must be set; `$${` is a literal `${`.
What came out of a variable is not searched again.
Mistakes count the tables of a list from 0, as in `cluster[0].backend[2].address`.
A file that is not TOML is judged no further than that.
";
