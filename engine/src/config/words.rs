//! The words of keys that accept one of a few.
//!
//! Purpose: tie each word of the file to the value it stands for, in one place.
//! Never: list a word whose feature does not exist yet.

use super::routing::{Policy, PrimaryReads};
use super::tls::{OfBackend, OfEndpoint, TlsMode};
use super::types::{
    BackendCompression, DriverChoice, EndpointAuth, EndpointMode, LogFormat, LogLevel, Pooling,
    Role,
};
use crate::base::Consistency;

/// A value written as one of a few words.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every accepted word with its value.
    const WORDS: &'static [(&'static str, Self)];
    /// What holds when the key is absent; `None` where the key is required.
    const DEFAULT: Option<Self>;

    /// The value of a word.
    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
    }
}

/// The word of a value.
fn word_of<W: Word>(value: W) -> &'static str {
    W::WORDS.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

/// Values that pages show as the file has them.
macro_rules! named {
    ($($name:ty),*) => {
        $(impl $name {
            /// As the file says it.
            #[must_use]
            pub fn word(self) -> &'static str {
                word_of(self)
            }
        })*
    };
}

named!(EndpointMode, Policy, PrimaryReads);

/// The words of one type, without the type: what the table of keys keeps.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) names: Vec<&'static str>,
    pub(super) default: Option<&'static str>,
    /// Whether one has to be said: nothing holds without.
    pub(super) required: bool,
}

/// The words of `W`.
pub(super) fn words<W: Word>() -> Words {
    let default = W::WORDS.iter().find(|(_, value)| Some(*value) == W::DEFAULT);
    Words {
        names: W::WORDS.iter().map(|(name, _)| *name).collect(),
        default: default.map(|(name, _)| *name),
        required: W::DEFAULT.is_none(),
    }
}

impl Word for DriverChoice {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("io_uring", Self::IoUring), ("epoll", Self::Epoll)];
    const DEFAULT: Option<Self> = Some(Self::Auto);
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
    const DEFAULT: Option<Self> = Some(Self::Text);
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
    const DEFAULT: Option<Self> = Some(Self::Info);
}

/// None is what is observed.
impl Word for Option<Role> {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", None), ("primary", Some(Role::Primary)), ("replica", Some(Role::Replica))];
    const DEFAULT: Option<Self> = Some(None);
}

impl Word for BackendCompression {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("zlib", Self::Zlib), ("zstd", Self::Zstd)];
    const DEFAULT: Option<Self> = Some(Self::None);
}

impl Word for EndpointMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("primary", Self::Primary),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
    ];
    const DEFAULT: Option<Self> = Some(Self::Primary);
}

impl Word for Consistency {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Eventual.name(), Self::Eventual),
        (Self::Session.name(), Self::Session),
        (Self::Instance.name(), Self::Instance),
        (Self::Global.name(), Self::Global),
    ];
    const DEFAULT: Option<Self> = Some(Self::Session);
}

/// None is where nothing is said.
impl Word for Option<Consistency> {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Consistency::Eventual.name(), Some(Consistency::Eventual)),
        (Consistency::Session.name(), Some(Consistency::Session)),
        (Consistency::Instance.name(), Some(Consistency::Instance)),
        (Consistency::Global.name(), Some(Consistency::Global)),
    ];
    const DEFAULT: Option<Self> = Some(None);
}

impl Word for EndpointAuth {
    const WORDS: &'static [(&'static str, Self)] =
        &[("listed", Self::Listed), ("pass-through", Self::PassThrough)];
    const DEFAULT: Option<Self> = Some(Self::Listed);
}

impl Word for Pooling {
    const WORDS: &'static [(&'static str, Self)] =
        &[("transaction", Self::Transaction), ("session", Self::Session), ("none", Self::None)];
    const DEFAULT: Option<Self> = Some(Self::Transaction);
}

impl Word for Policy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("least-outstanding", Self::LeastOutstanding),
        ("least-connections", Self::LeastConnections),
        ("fastest", Self::Fastest),
        ("least-lag", Self::LeastLag),
        ("weighted-random", Self::WeightedRandom),
        ("round-robin", Self::RoundRobin),
    ];
    const DEFAULT: Option<Self> = Some(Self::LeastOutstanding);
}

impl Word for PrimaryReads {
    const WORDS: &'static [(&'static str, Self)] =
        &[("never", Self::Never), ("fallback", Self::Fallback), ("always", Self::Always)];
    const DEFAULT: Option<Self> = Some(Self::Fallback);
}

impl Word for OfEndpoint {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disabled", Self(TlsMode::Disabled)),
        ("preferred", Self(TlsMode::Preferred)),
        ("required", Self(TlsMode::Required)),
        ("verify-ca", Self(TlsMode::VerifyCa)),
        ("verify-identity", Self(TlsMode::VerifyIdentity)),
    ];
    const DEFAULT: Option<Self> = Some(Self(TlsMode::Preferred));
}

impl Word for OfBackend {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disabled", Self(TlsMode::Disabled)),
        ("preferred", Self(TlsMode::Preferred)),
        ("required", Self(TlsMode::Required)),
        ("verify-ca", Self(TlsMode::VerifyCa)),
        ("verify-identity", Self(TlsMode::VerifyIdentity)),
    ];
    const DEFAULT: Option<Self> = Some(Self(TlsMode::Disabled));
}
