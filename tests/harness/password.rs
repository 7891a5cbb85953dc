//! The answers of the two authentication plugins.
//!
//! Purpose: a second opinion: written from the protocol's formulas, not with Weir's own code.
//! Never: keep a password.

use anyhow::{Context, Result};
use rsa::pkcs8::DecodePublicKey;
use rsa::rand_core::OsRng;
use rsa::{Oaep, RsaPublicKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The plugins' names.
pub(crate) const NATIVE: &str = "mysql_native_password";
pub(crate) const SHA2: &str = "caching_sha2_password";

/// What a client with that password answers to a nonce of 20 bytes; nothing for plugins other than
/// the two.
pub(crate) fn answer(plugin: &str, password: &str, nonce: &[u8]) -> Vec<u8> {
    match plugin {
        NATIVE if !password.is_empty() => native(password.as_bytes(), nonce),
        SHA2 if !password.is_empty() => sha2(password.as_bytes(), nonce),
        _ => Vec::new(),
    }
}

/// A password and its NUL, sealed for the RSA key of a server.
pub(crate) fn seal(pem: &[u8], password: &str, nonce: &[u8]) -> Result<Vec<u8>> {
    let pem = std::str::from_utf8(pem)?;
    let key = RsaPublicKey::from_public_key_pem(pem).context("the server's RSA key")?;
    let text = [password.as_bytes(), &[0]].concat();
    let masked: Vec<u8> = text.iter().zip(nonce.iter().cycle()).map(|(a, b)| a ^ b).collect();
    key.encrypt(&mut OsRng, Oaep::new::<Sha1>(), &masked).context("sealing")
}

/// `SHA1(p) XOR SHA1(nonce + SHA1(SHA1(p)))`
fn native(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let stage1 = Sha1::digest(password);
    let mask = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(stage1)).finalize();
    stage1.iter().zip(mask).map(|(a, b)| a ^ b).collect()
}

/// `SHA256(p) XOR SHA256(SHA256(SHA256(p)) + nonce)`
fn sha2(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let stage1 = Sha256::digest(password);
    let mask = Sha256::new().chain_update(Sha256::digest(stage1)).chain_update(nonce).finalize();
    stage1.iter().zip(mask).map(|(a, b)| a ^ b).collect()
}
