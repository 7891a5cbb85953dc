//! Why TLS came to nothing.
//!
//! Purpose: one small enum whose texts say what is wrong and what would be right, fit for a log.
//! Never: quote what a peer sent, beyond a few names of its certificate.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// What ended a TLS connection. "It" is the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// Its bytes are no TLS.
    NotTls,
    /// It and Weir have no version or cipher in common.
    Incompatible(Box<str>),
    /// Its certificate comes from no authority that is trusted.
    Untrusted,
    /// Its certificate is for another name: the one looked for, and those found.
    WrongName(Box<str>, Box<str>),
    /// Its certificate was valid once.
    Expired,
    /// Its certificate will be valid.
    NotYetValid,
    /// Its certificate cannot be used, for another reason.
    BadCertificate(Box<str>),
    /// It showed no certificate and needs one.
    NoCertificate,
    /// It ended the handshake with this alert.
    Refused(Box<str>),
    /// More was to be sent before the end of the handshake than is kept.
    TooMuchTooEarly,
    /// It broke the protocol, or the connection was tampered with.
    Broken(Box<str>),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("it does not speak TLS where a TLS handshake is due"),
            Self::Incompatible(what) => {
                write!(f, "it has no TLS in common with Weir, which speaks 1.2 and 1.3: {what}")
            }
            Self::Untrusted => f.write_str(
                "its certificate is from no authority in the CA file; that file must hold the \
                 certificate of the one that signed it",
            ),
            Self::WrongName(wanted, found) if found.is_empty() => {
                write!(f, "its certificate names nobody, and should name {wanted}")
            }
            Self::WrongName(wanted, found) => {
                write!(f, "its certificate is for {found}, and should be for {wanted}")
            }
            Self::Expired => f.write_str("its certificate has expired; it needs a new one"),
            Self::NotYetValid => f.write_str(
                "its certificate is not valid yet; one of the two clocks is wrong, or it is to be \
                 used later",
            ),
            Self::BadCertificate(why) => write!(f, "its certificate cannot be used: {why}"),
            Self::NoCertificate => f.write_str(
                "it showed no certificate; one from the authority in the CA file is due",
            ),
            Self::Refused(alert) => write!(f, "it ended TLS with the alert {alert}"),
            Self::TooMuchTooEarly => f.write_str("its TLS handshake takes too long for what waits"),
            Self::Broken(how) => write!(f, "TLS failed: {how}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    /// The error behind rustls' own. In a handshake, bytes that make no sense are no TLS at all.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
    pub(super) fn of(error: &Error, is_handshaking: bool) -> Self {
        match error {
            Error::InvalidMessage(_) if is_handshaking => Self::NotTls,
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoCertificatesPresented
            | Error::PeerIncompatible(
                PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            ) => Self::NoCertificate,
            Error::PeerIncompatible(what) => Self::Incompatible(format!("{what:?}").into()),
            Error::AlertReceived(alert) => Self::Refused(explained(*alert)),
            other => Self::Broken(other.to_string().into()),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::Untrusted,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidForNameContext { expected, presented } => {
                let found: Vec<&str> =
                    presented.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
                Self::WrongName(expected.to_str().into(), found.join(", ").into())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            other => {
                let text = other.to_string();
                // What webpki says of it: the one name of an error that people meet.
                let is_old = text.contains("UnsupportedCertVersion");
                Self::BadCertificate(if is_old { OLD_VERSION.into() } else { text.into() })
            }
        }
    }
}

/// Names of a certificate that an error shows; some have hundreds.
const NAMES_SHOWN_MAX: usize = 8;
const OLD_VERSION: &str = "it is of X.509 version 1; verifying needs version 3, which openssl makes \
                           with an extension file (-extfile)";

/// The alert's name, and what it means where that helps.
fn explained(alert: AlertDescription) -> Box<str> {
    let why = EXPLAINED.iter().find(|(explained, _)| *explained == alert);
    why.map_or_else(|| format!("{alert:?}"), |(_, why)| format!("{alert:?}: {why}")).into()
}

const EXPLAINED: [(AlertDescription, &str); 7] = [
    (AlertDescription::UnknownCA, "it does not trust the authority of Weir's certificate"),
    (AlertDescription::BadCertificate, "it does not accept Weir's certificate"),
    (AlertDescription::CertificateUnknown, "it does not accept Weir's certificate"),
    (AlertDescription::CertificateExpired, "Weir's certificate has expired"),
    (AlertDescription::CertificateRequired, "it wants a certificate of Weir's"),
    (AlertDescription::ProtocolVersion, "it has neither TLS 1.2 nor 1.3"),
    (AlertDescription::HandshakeFailure, "it has no cipher in common with Weir"),
];
