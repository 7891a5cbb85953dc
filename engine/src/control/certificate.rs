//! The certificate of endpoints that were given none, kept between starts.
//!
//! Purpose: make it at the first start, keep it in `state_dir`, use it again.
//! Never: write over a key; clients may have pinned its certificate.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::config::{Config, Identity, TlsMode};
use crate::control::state_file;
use crate::tls::{Contexts, SelfSigned};

/// Makes ready what the configuration's files hold.
///
/// # Errors
/// Certificates or keys that cannot be used, one line each.
pub(super) fn contexts(config: &Config) -> Result<Contexts, Vec<String>> {
    let own = if needs_own(config) { Some(own(&config.state_dir)?) } else { None };
    Contexts::build(config, own.as_ref())
}

/// Whether an endpoint offers TLS and has no certificate.
fn needs_own(config: &Config) -> bool {
    let mut endpoints = config.endpoints.iter().map(|endpoint| &endpoint.tls);
    endpoints.any(|tls| tls.mode != TlsMode::Disabled && tls.identities.is_empty())
}

/// The certificate of this installation, made if it is not there.
fn own(folder: &Path) -> Result<Identity, Vec<String>> {
    let files = Files::of(folder);
    let (made, unsaved) = match files.get() {
        Ok(made) => (made, None),
        Err(error) => {
            let made = SelfSigned::make(host().as_deref(), None, now());
            (made.map_err(|error| vec![error])?, Some(error))
        }
    };
    let shown = files.certificate.display();
    match unsaved {
        None => tracing::warn!(
            file = %shown,
            "endpoints without tls_certificate_file show a certificate made by Weir; clients that \
             verify certificates refuse it"
        ),
        Some(error) => tracing::warn!(
            file = %shown,
            %error,
            "endpoints without tls_certificate_file show a certificate made by Weir, which cannot \
             be kept in state_dir: the next start makes another one"
        ),
    }
    let identity = made.identity(&shown.to_string(), &files.key.display().to_string());
    identity.map_err(|error| vec![error])
}

struct Files {
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            certificate: folder.join("weir-cert.pem"),
            key: folder.join("weir-key.pem"),
        }
    }

    /// What is kept, or is from now on.
    fn get(&self) -> io::Result<SelfSigned> {
        let key = match state_file::read(&self.key)? {
            Some(key) => key,
            None => self.make_key()?,
        };
        let certificate = match state_file::read(&self.certificate)? {
            Some(certificate) => certificate.to_string(),
            None => {
                let made = SelfSigned::make(host().as_deref(), Some(&key), now());
                let made = made.map_err(|error| {
                    io::Error::other(format!("{}: {error}", self.key.display()))
                })?;
                let unfinished = state_file::write(&self.folder, "cert", &made.certificate, 0o644)?;
                fs::rename(unfinished, &self.certificate)?;
                made.certificate
            }
        };
        Ok(SelfSigned { certificate, key })
    }

    /// Makes a key, unless another process just did: then that one's is taken.
    fn make_key(&self) -> io::Result<Zeroizing<String>> {
        let made = SelfSigned::make(None, None, now()).map_err(io::Error::other)?;
        state_file::keep_secret(&self.folder, &self.key, made.key)
    }
}

fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (!name.is_empty() && name.bytes().all(allowed)).then(|| name.to_owned())
}

/// Since 1970; a clock before that counts as at it.
fn now() -> std::time::Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("weir-certificate-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn the_certificate_is_made_once_and_kept() {
        let folder = Folder::new("kept");
        let state = folder.0.join("below");
        let first = own(&state).unwrap();
        assert_eq!(own(&state).unwrap(), first);
        let mode = |name: &str| fs::metadata(state.join(name)).unwrap().permissions().mode();
        assert_eq!((mode("weir-key.pem") & 0o777, mode("weir-cert.pem") & 0o777), (0o600, 0o644));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 2, "nothing unfinished is left");
        // A certificate that was lost is made again with the same key.
        fs::remove_file(state.join("weir-cert.pem")).unwrap();
        let again = own(&state).unwrap();
        assert_eq!(again.key, first.key);
        assert_ne!(again.chain, first.chain);
    }

    #[test]
    fn processes_that_start_at_once_agree() {
        let folder = Folder::new("agree");
        let files = Files::of(&folder.0);
        let first = files.make_key().unwrap();
        // What a slower process finds when it comes to naming its own.
        assert_eq!(files.make_key().unwrap(), first);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_reason_not_to_start() {
        let folder = Folder::new("file");
        fs::write(&folder.0, "no folder").unwrap();
        let first = own(&folder.0).unwrap();
        assert_ne!(own(&folder.0).unwrap(), first);
        drop(fs::remove_file(&folder.0));
    }

    #[test]
    fn files_that_somebody_broke_are_named() {
        let folder = Folder::new("broken");
        own(&folder.0).unwrap();
        fs::write(folder.0.join("weir-cert.pem"), "hello").unwrap();
        let problems = own(&folder.0).unwrap_err();
        assert!(problems[0].contains("weir-cert.pem holds no certificate"), "{problems:?}");
    }
}
