//! Files of what Weir makes for itself, kept between starts.
//!
//! Purpose: write them whole or not at all, and secrets for nobody else to read.
//! Never: write over a secret that is there.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Keeps a secret, unless another process just kept one there: then that one is taken.
pub(super) fn keep_secret(
    folder: &Path,
    path: &Path,
    secret: Zeroizing<String>,
) -> io::Result<Zeroizing<String>> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    let unfinished = write(folder, "key", &secret, 0o600)?;
    // Unlike a rename, a link does not replace what is there.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path)?.ok_or(error),
        Err(error) => Err(error),
        Ok(()) => Ok(secret),
    }
}

/// Writes a file that has no name anybody looks for yet.
pub(super) fn write(folder: &Path, name: &str, text: &str, mode: u32) -> io::Result<PathBuf> {
    let path = folder.join(format!(".weir-{name}-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(path)
}

/// The text of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}
