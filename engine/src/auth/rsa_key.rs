//! The RSA step of `caching_sha2_password`, for links that are not encrypted.
//!
//! ```text
//! sealed = RSA-OAEP-SHA1( (password + NUL) XOR nonce, nonce, nonce, … )
//! ```
//!
//! Purpose: seal a password for a server's key, and open what a client sealed for Weir's.
//! Never: keep a password, or tell by its time what was wrong with a sealed one.

use std::fmt;
use std::sync::Arc;

use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use rustls::pki_types::PrivateKeyDer;
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::auth::seed::Seed;
use crate::wire::NONCE_LEN;

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Making one failed.
    #[error("an RSA key cannot be made")]
    Generate,
    /// The text is no private key.
    #[error("it is no RSA private key in PEM (\"BEGIN PRIVATE KEY\" or \"BEGIN RSA PRIVATE KEY\")")]
    NotPem,
    /// The key is too short to be safe.
    #[error("its RSA key has fewer than {} bits", RsaKey::BITS)]
    Short,
}

/// Weir's own key pair, which clients seal their passwords for. `Debug` hides it.
pub struct RsaKey {
    private: RsaPrivateKey,
    public_pem: String,
}

impl RsaKey {
    /// Bits of a key made here.
    pub const BITS: usize = 2048;

    /// Makes a key; that takes a good part of a second.
    ///
    /// # Errors
    /// [`KeyError::Generate`], which is not to be expected.
    pub fn generate(seed: &Seed) -> Result<Self, KeyError> {
        let private = RsaPrivateKey::new(&mut seed.stream(), Self::BITS);
        Self::of(private.map_err(|_| KeyError::Generate)?)
    }

    /// Reads a key that [`RsaKey::to_pem`] wrote.
    ///
    /// # Errors
    /// The text is no such key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Self::of(RsaPrivateKey::from_pkcs8_pem(pem).map_err(|_| KeyError::NotPem)?)
    }

    /// Reads a key of the configuration.
    ///
    /// # Errors
    /// It is no RSA key, or too short.
    pub fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let private = if let PrivateKeyDer::Pkcs8(der) = key {
            RsaPrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).ok()
        } else if let PrivateKeyDer::Pkcs1(der) = key {
            // As OpenSSL and MySQL wrote them for long.
            RsaPrivateKey::from_pkcs1_der(der.secret_pkcs1_der()).ok()
        } else {
            None
        };
        Self::of(private.ok_or(KeyError::NotPem)?)
    }

    fn of(private: RsaPrivateKey) -> Result<Self, KeyError> {
        if private.n().bits() < Self::BITS {
            return Err(KeyError::Short);
        }
        let public_pem = private.to_public_key().to_public_key_pem(LineEnding::LF);
        Ok(Self { public_pem: public_pem.map_err(|_| KeyError::Generate)?, private })
    }

    /// The private key as text, to be kept where nobody else reads it.
    ///
    /// # Errors
    /// [`KeyError::Generate`], which is not to be expected.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.private.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Generate)
    }

    /// The public key as clients are sent it.
    #[must_use]
    pub const fn public_pem(&self) -> &str {
        self.public_pem.as_str()
    }

    /// Bytes of a password sealed for it.
    #[must_use]
    pub fn sealed_bytes(&self) -> usize {
        self.private.size()
    }

    /// The password and its NUL that a client sealed. `seed` hides the private key from who
    /// measures the time.
    #[must_use]
    pub fn open(
        &self,
        sealed: &[u8],
        nonce: &[u8; NONCE_LEN],
        seed: &Seed,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let padding = Oaep::new::<Sha1>();
        let opened = self.private.decrypt_blinded(&mut seed.stream(), padding, sealed).ok()?;
        let mut opened = Zeroizing::new(opened);
        mask(&mut opened, nonce);
        Some(opened)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(…)")
    }
}

/// A password as a client sealed it. Opening it takes about a millisecond.
pub struct Sealed {
    key: Arc<RsaKey>,
    text: Vec<u8>,
    nonce: [u8; NONCE_LEN],
}

impl Sealed {
    pub(crate) fn new(key: Arc<RsaKey>, text: &[u8], nonce: [u8; NONCE_LEN]) -> Self {
        Self { key, text: text.to_vec(), nonce }
    }

    /// The password and its NUL; `None` if it was not sealed for that key.
    #[must_use]
    pub fn open(&self, seed: &Seed) -> Option<Zeroizing<Vec<u8>>> {
        self.key.open(&self.text, &self.nonce, seed)
    }
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key) && self.text == other.text && self.nonce == other.nonce
    }
}

impl Eq for Sealed {}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// Seals a password, without its NUL, for the key of a server. `None`: the text is no RSA key, or
/// the key is too short for the password.
pub(crate) fn seal(
    pem: &[u8],
    password: &[u8],
    nonce: &[u8; NONCE_LEN],
    seed: &Seed,
) -> Option<Vec<u8>> {
    let pem = std::str::from_utf8(pem).ok()?;
    let key = RsaPublicKey::from_public_key_pem(pem.trim_matches(['\0', '\n', '\r', ' '])).ok()?;
    let mut plain = with_nul(password);
    mask(&mut plain, nonce);
    key.encrypt(&mut seed.stream(), Oaep::new::<Sha1>(), &plain).ok()
}

/// A password as the full exchange sends it.
pub(crate) fn with_nul(password: &[u8]) -> Zeroizing<Vec<u8>> {
    // In one piece: growing would leave a copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    plain.extend_from_slice(password);
    plain.push(0);
    plain
}

fn mask(bytes: &mut [u8], nonce: &[u8; NONCE_LEN]) {
    for (byte, mask) in bytes.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
}
