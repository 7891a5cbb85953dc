//! The RSA key that clients seal their passwords for.
//!
//! Purpose: take the configuration's, or make one at the first start that may need it, and keep it.
//! Never: write over a key; clients may have its public half in a file.

use std::path::Path;
use std::sync::Arc;

use crate::auth::{RsaKey, Seed};
use crate::config::{Config, EndpointAuth, Secret};
use crate::control::state_file;
use crate::io::random;

/// The key, if a client may have to seal its password.
///
/// # Errors
/// Why the file of a key cannot be used, in a line.
pub(super) fn rsa_key(config: &Config) -> Result<Option<Arc<RsaKey>>, String> {
    if let Some(key) = &config.rsa_key {
        let made = RsaKey::from_der(key.der());
        return made
            .map(|made| Some(Arc::new(made)))
            .map_err(|error| format!("rsa_key_file {}: {error}", key.file));
    }
    if needs_one(config) { own(&config.state_dir).map(Some) } else { Ok(None) }
}

/// Whether clients are asked for their password on an endpoint where others may read it.
fn needs_one(config: &Config) -> bool {
    let is_hash = |secret: &Secret| matches!(secret, Secret::NativeHash(_) | Secret::Sha2Hash(_));
    let has_hashes = config.users.iter().any(|user| is_hash(&user.secret));
    config.endpoints.iter().any(|endpoint| {
        let is_open = !endpoint.listen.is_unix() && !endpoint.tls.mode.is_required();
        is_open && (has_hashes || endpoint.auth == EndpointAuth::PassThrough)
    })
}

/// The key of this installation, made if it is not there.
fn own(folder: &Path) -> Result<Arc<RsaKey>, String> {
    let path = folder.join("weir-rsa-key.pem");
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if let Ok(Some(pem)) = state_file::read(&path) {
        return RsaKey::from_pem(&pem).map(Arc::new).map_err(|error| named(&error));
    }
    let mut bytes = [0; Seed::BYTES];
    random(&mut bytes);
    let made = RsaKey::generate(&Seed::new(bytes)).map_err(|error| named(&error))?;
    let pem = made.to_pem().map_err(|error| named(&error))?;
    match state_file::keep_secret(folder, &path, pem) {
        // Another process may have been faster.
        Ok(kept) => RsaKey::from_pem(&kept).map(Arc::new).map_err(|error| named(&error)),
        Err(error) => {
            tracing::warn!(
                file = %path.display(),
                %error,
                "the RSA key made by Weir cannot be kept in state_dir: the next start makes another"
            );
            Ok(Arc::new(made))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Offline, PrivateKey, User, parse, sample};

    const KEY: &str = include_str!("../../testdata/rsa-key.pem");

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("weir-rsa-key-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn config(folder: &Folder) -> Config {
        let mut config = parse(&sample(), &Offline).unwrap();
        config.state_dir.clone_from(&folder.0);
        config
    }

    #[test]
    fn the_key_is_made_once_and_kept() {
        let folder = Folder::new("kept");
        let state = folder.0.join("below");
        let first = own(&state).unwrap();
        assert_eq!(own(&state).unwrap().public_pem(), first.public_pem());
        let mode = fs::metadata(state.join("weir-rsa-key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing unfinished is left");
        fs::write(state.join("weir-rsa-key.pem"), "hello").unwrap();
        let error = own(&state).unwrap_err();
        assert!(error.contains("weir-rsa-key.pem: it is no RSA private key"), "{error}");
    }

    #[test]
    fn it_is_made_only_where_a_password_may_have_to_be_sealed() {
        let folder = Folder::new("needed");
        let mut config = config(&folder);
        assert!(rsa_key(&config).unwrap().is_none(), "the only password is known");
        config.endpoints[0].auth = EndpointAuth::PassThrough;
        assert!(needs_one(&config));
        config.endpoints[0].auth = EndpointAuth::Listed;
        let hash = Secret::Sha2Hash([1; 32]);
        config.users.push(Arc::new(User::new("hash".into(), hash)));
        assert!(needs_one(&config));
        config.endpoints[0].tls.mode = crate::config::TlsMode::Required;
        assert!(rsa_key(&config).unwrap().is_none());
        assert!(!folder.0.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_reason_not_to_start() {
        let folder = Folder::new("file");
        fs::write(&folder.0, "no folder").unwrap();
        assert!(own(&folder.0).is_ok());
        drop(fs::remove_file(&folder.0));
    }

    #[test]
    fn the_configurations_key_goes_first() {
        let folder = Folder::new("configured");
        let mut config = config(&folder);
        config.rsa_key = Some(PrivateKey::of_pem("rsa.pem", KEY).unwrap());
        let expected = RsaKey::from_pem(KEY).unwrap();
        assert_eq!(rsa_key(&config).unwrap().unwrap().public_pem(), expected.public_pem());
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        config.rsa_key = Some(PrivateKey::of_pem("ec.pem", &pem).unwrap());
        let error = rsa_key(&config).unwrap_err();
        assert!(error.starts_with("rsa_key_file ec.pem: it is no RSA"), "{error}");
    }
}
