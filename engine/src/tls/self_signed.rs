//! A certificate for endpoints that were given none.
//!
//! Purpose: encryption out of the box, as servers have it. Clients that verify need a real one.
//! Never: write a file; the caller keeps what was made, so that nobody sees a new one every day.

use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, date_time_ymd};
use zeroize::Zeroizing;

use crate::config::{Certificates, Identity, PrivateKey};

/// What was made, as PEM texts.
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

/// Leaves out the key.
impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelfSigned")
    }
}

impl SelfSigned {
    /// Makes a certificate for `localhost`, the loopback addresses and `host`, valid for ten years
    /// from `now`, which is counted from 1970. With the PEM text of a key, that key is used.
    ///
    /// # Errors
    /// Why the key cannot be used or made.
    pub fn make(host: Option<&str>, key: Option<&str>, now: Duration) -> Result<Self, String> {
        let pair = match key {
            Some(text) => KeyPair::from_pem(text),
            None => KeyPair::generate(),
        };
        let pair = pair.map_err(|error| error.to_string())?;
        let names = ["localhost"].into_iter().chain(host.filter(|host| *host != "localhost"));
        let names: Vec<String> = names.map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
        for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Weir, self-signed");
        // A day of grace for clients whose clock is behind.
        params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
        params.not_after = date_time_ymd(1970, 1, 1) + now + YEARS;
        let certificate = params.self_signed(&pair).map_err(|error| error.to_string())?;
        let key = Zeroizing::new(pair.serialize_pem());
        Ok(Self { certificate: certificate.pem(), key })
    }

    /// The certificate and key in the form in which a configuration has them.
    ///
    /// # Errors
    /// What is wrong with texts that were not made by [`Self::make`].
    pub fn identity(&self, certificate_file: &str, key_file: &str) -> Result<Identity, String> {
        let named = |file: &str, error: String| format!("{file} {error}");
        Ok(Identity {
            chain: Certificates::of_pem(certificate_file, &self.certificate)
                .map_err(|error| named(certificate_file, error))?,
            key: PrivateKey::of_pem(key_file, &self.key).map_err(|error| named(key_file, error))?,
        })
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEARS: Duration = Duration::from_secs(3652 * 24 * 3600);
