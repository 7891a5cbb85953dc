//! The names in a certificate.
//!
//! Purpose: whom a certificate speaks of, and whether an account or a server is among them.
//! Never: trust a certificate; that was decided before anybody asks for its names.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The names in one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The common name of its subject.
    pub common: Option<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// E-mail addresses.
    pub email: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl CertificateNames {
    /// Reads them; none of a certificate that cannot be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut names = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return names };
        let mut common = certificate.subject().iter_common_name();
        names.common = common.next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                names.dns.push((*name).to_owned());
            } else if let GeneralName::RFC822Name(name) = name {
                names.email.push((*name).to_owned());
            } else if let GeneralName::IPAddress(bytes) = name {
                names.addresses.extend(address(bytes));
            }
        }
        names
    }

    /// The accounts that are named: by a whole name, or by what stands before a name's `@`.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        let names = self.common.iter().chain(&self.dns).chain(&self.email);
        names.flat_map(|name| {
            let local = name.split_once('@').map(|(local, _)| local);
            [Some(name.as_str()), local].into_iter().flatten().filter(|name| !name.is_empty())
        })
    }

    /// Whether an account is named.
    #[must_use]
    pub fn include_account(&self, account: &[u8]) -> bool {
        self.accounts().any(|name| name.as_bytes() == account)
    }

    /// Whether a server's DNS name is among them, also by a `*` for its first label. The common
    /// name counts where there are no other names, as it does for MySQL's and MariaDB's clients.
    #[must_use]
    pub fn include_server(&self, server: &str) -> bool {
        let server = server.trim_end_matches('.');
        let common = self.common.iter().filter(|_| self.common_counts());
        self.dns.iter().chain(common).any(|name| {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case(server)
                || match (name.strip_prefix("*."), server.split_once('.')) {
                    (Some(rest), Some((_, parent))) => rest.eq_ignore_ascii_case(parent),
                    (Some(_) | None, _) => false,
                }
        })
    }

    /// Those a server is looked for by.
    pub(super) fn of_server(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let common = self.common.iter().filter(|_| self.common_counts()).cloned();
        self.dns.iter().cloned().chain(addresses).chain(common).collect()
    }

    /// Whether there is no name but the common one.
    pub(super) fn common_counts(&self) -> bool {
        self.dns.is_empty() && self.addresses.is_empty()
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
