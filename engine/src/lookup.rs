//! The machine as a configuration refers to it.
//!
//! Purpose: environment, files and host names for `config::parse`, and the file itself.
//! Never: read without a bound, or between the start and a reload.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use weir::config::Lookup;

/// This process's environment and this machine's files and names.
#[derive(Debug)]
pub(crate) struct System {
    folder: PathBuf,
}

impl System {
    /// For a configuration file: relative paths in it start at its folder.
    pub(crate) fn of(file: &Path) -> Self {
        Self { folder: file.parent().unwrap_or(Path::new("")).to_owned() }
    }
}

impl Lookup for System {
    fn variable(&self, name: &str) -> Option<String> {
        // A variable that is not UTF-8 counts as not set: no key could take it.
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        read_text(&self.folder.join(path), FILE_BYTES_MAX).map_err(|error| error.to_string())
    }

    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let addresses = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// The configuration file's text.
///
/// # Errors
/// It cannot be read, is not UTF-8, or is far too large to be one.
pub(crate) fn read_config(path: &Path) -> Result<String, Error> {
    read_text(path, CONFIG_BYTES_MAX)
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, Error> {
    let mut text = String::new();
    // One byte more than allowed tells "just fits" from "cut off"; devices never end.
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let message = format!("larger than {bytes_max} bytes");
        return Err(Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A bundle of every public authority has a quarter of this.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_a_bound() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let length = std::fs::metadata(&manifest).unwrap().len();
        assert_eq!(read_text(&manifest, length).unwrap().len() as u64, length);
        let error = read_text(&manifest, length - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(read_text(Path::new("/dev/zero"), 10).is_err());
    }

    #[test]
    fn relative_paths_start_at_the_configuration() {
        let system = System::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("weir.toml"));
        assert!(system.file("Cargo.toml").unwrap().contains("[package]"));
        assert!(system.file("no such file").is_err());
    }

    #[test]
    fn knows_this_machine() {
        let system = System::of(Path::new("weir.toml"));
        assert!(system.resolve("localhost").unwrap().iter().all(IpAddr::is_loopback));
        assert_eq!(system.variable("CARGO_MANIFEST_DIR").unwrap(), env!("CARGO_MANIFEST_DIR"));
        assert_eq!(system.variable("WEIR_TEST_NOT_SET"), None);
    }
}
