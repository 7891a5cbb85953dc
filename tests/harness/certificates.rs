//! Certificates for tests, made on the spot.
//!
//! Purpose: an authority, a server's and a client's certificate, and an authority nobody trusts,
//! as PEM files beside what uses them.
//! Never: be used outside of a test; keys are written readable for everybody who may read the folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};

/// PEM files in a folder: `ca.pem`, `server.pem` and `server-key.pem` (for 127.0.0.1 and
/// localhost), `client.pem` and `client-key.pem`, and `other-ca.pem`.
#[derive(Clone, Debug)]
pub struct TestCertificates {
    folder: PathBuf,
}

impl TestCertificates {
    /// Makes them; the client's certificate is for the account `account`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(folder: &Path, account: &str) -> Result<Self> {
        let ca = authority("weir tests")?;
        let made = Self { folder: folder.to_owned() };
        made.write("ca.pem", &ca.pem())?;
        made.write("other-ca.pem", &authority("somebody else")?.pem())?;
        let server = subject("server", &["127.0.0.1", "localhost"])?;
        for (name, params) in [("server", server), ("client", subject(account, &[])?)] {
            let key = KeyPair::generate()?;
            made.write(&format!("{name}.pem"), &params.signed_by(&key, &ca)?.pem())?;
            made.write(&format!("{name}-key.pem"), &key.serialize_pem())?;
        }
        Ok(made)
    }

    /// A file's path, as it is written into configurations and arguments.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// Arguments with which a server offers TLS and takes clients' certificates.
    #[must_use]
    pub fn server_args(&self) -> Vec<String> {
        [("ssl-ca", "ca.pem"), ("ssl-cert", "server.pem"), ("ssl-key", "server-key.pem")]
            .map(|(name, file)| format!("--{name}={}", self.path(file)))
            .into()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(name), text)?)
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = subject(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn subject(common: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    Ok(params)
}
