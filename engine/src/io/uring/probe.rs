//! What the kernel's io_uring can do, found by trying.
//!
//! Purpose: make a ring with the best set-up the kernel accepts, or say why there is none.
//! Never: judge by version numbers: distributions backport, sandboxes forbid.

use std::fmt;
use std::io;

use io_uring::IoUring;

/// What a ring may use. Each has its minimum kernel; the ring itself needs 5.19.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// 6.0: the kernel relies on one thread submitting.
    pub single_issuer: bool,
    /// 6.1: completions are worked off only when this thread asks for them. Worth 8–16 % of CPU.
    pub defer_taskrun: bool,
    /// 6.0: one receive delivers until cancelled. Otherwise each is asked for again.
    pub multishot_recv: bool,
    /// 5.19: one accept delivers until cancelled.
    pub multishot_accept: bool,
    /// 5.17: sends that took everything post no completion.
    pub skip_success: bool,
    /// 6.6: no indirection array in front of the submission queue.
    pub no_sqarray: bool,
    /// 6.15: a sleeping worker does not count as waiting for a disk.
    pub no_iowait: bool,
}

impl Features {
    /// Everything a recent kernel has.
    pub const ALL: Self = Self {
        single_issuer: true,
        defer_taskrun: true,
        multishot_recv: true,
        multishot_accept: true,
        skip_success: true,
        no_sqarray: true,
        no_iowait: true,
    };

    /// What both sides have.
    const fn and(self, other: Self) -> Self {
        Self {
            single_issuer: self.single_issuer && other.single_issuer,
            defer_taskrun: self.defer_taskrun && other.defer_taskrun,
            multishot_recv: self.multishot_recv && other.multishot_recv,
            multishot_accept: self.multishot_accept && other.multishot_accept,
            skip_success: self.skip_success && other.skip_success,
            no_sqarray: self.no_sqarray && other.no_sqarray,
            no_iowait: self.no_iowait && other.no_iowait,
        }
    }
}

impl fmt::Display for Features {
    /// The names of what is missing; "all features" when nothing is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<&str> = [
            (self.single_issuer, "single_issuer"),
            (self.defer_taskrun, "defer_taskrun"),
            (self.multishot_recv, "multishot_recv"),
            (self.multishot_accept, "multishot_accept"),
            (self.skip_success, "skip_success"),
            (self.no_sqarray, "no_sqarray"),
            (self.no_iowait, "no_iowait"),
        ]
        .into_iter()
        .filter_map(|(has, name)| (!has).then_some(name))
        .collect();
        if missing.is_empty() {
            f.write_str("all features")
        } else {
            write!(f, "without {}", missing.join(", "))
        }
    }
}

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The kernel has io_uring but this process may not use it.
    #[error(
        "io_uring is not permitted ({0}): a container's seccomp profile or the sysctl \
         kernel.io_uring_disabled forbids it"
    )]
    Forbidden(io::Error),
    /// The kernel has no io_uring.
    #[error("the kernel has no io_uring")]
    Missing,
    /// The kernel's io_uring lacks something needed.
    #[error("the kernel's io_uring has no {0}; Linux 5.19 or newer is needed")]
    TooOld(&'static str),
    /// Another error while making the ring.
    #[error("making an io_uring failed: {0}")]
    Os(io::Error),
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden(error),
            Some(libc::ENOSYS) => Self::Missing,
            Some(_) | None => Self::Os(error),
        }
    }
}

impl From<Unavailable> for io::Error {
    fn from(unavailable: Unavailable) -> Self {
        let kind = match &unavailable {
            Unavailable::Forbidden(_) => io::ErrorKind::PermissionDenied,
            Unavailable::Missing | Unavailable::TooOld(_) => io::ErrorKind::Unsupported,
            Unavailable::Os(error) => error.kind(),
        };
        Self::new(kind, unavailable)
    }
}

/// Says what a ring on this machine could use, by making a small one.
///
/// # Errors
/// Why there can be none; use epoll.
pub fn probe_uring() -> Result<Features, Unavailable> {
    let (ring, features) = build(8, Features::ALL)?;
    super::buf_ring::BufRing::register(&ring, 1)?;
    Ok(features)
}

/// Makes a ring with the best set-up the kernel accepts, and says what it has.
pub(super) fn build(entries: u32, allowed: Features) -> Result<(IoUring, Features), Unavailable> {
    // Each newer flag is tried together with the older ones, then left out: EINVAL names no flag.
    // SINGLE_ISSUER came with multishot receive (6.0), and nothing else announces the latter.
    let all = Features::ALL;
    let before_6_6 = Features { no_sqarray: false, no_iowait: false, ..all };
    let before_6_1 = Features { defer_taskrun: false, ..before_6_6 };
    let before_6_0 = Features { single_issuer: false, multishot_recv: false, ..before_6_1 };
    let mut refused = Unavailable::TooOld("cooperative task running (IORING_SETUP_COOP_TASKRUN)");
    for kernel in [all, before_6_6, before_6_1, before_6_0] {
        let wanted = allowed.and(kernel);
        match set_up(entries, wanted) {
            Ok(ring) => return check(ring, wanted),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => {
                refused = error.into();
                break;
            }
        }
    }
    Err(refused)
}

fn set_up(entries: u32, features: Features) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_submit_all().setup_coop_taskrun().setup_clamp();
    builder.setup_cqsize(entries.saturating_mul(4));
    if features.single_issuer {
        builder.setup_single_issuer();
    }
    // The kernel accepts DEFER_TASKRUN only together with SINGLE_ISSUER.
    if features.defer_taskrun && features.single_issuer {
        builder.setup_defer_taskrun();
    }
    if features.no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(entries)
}

fn check(ring: IoUring, wanted: Features) -> Result<(IoUring, Features), Unavailable> {
    let parameters = ring.params();
    if !parameters.is_feature_ext_arg() {
        return Err(Unavailable::TooOld("timeout of waiting (IORING_FEAT_EXT_ARG)"));
    }
    if !parameters.is_feature_nodrop() || !parameters.is_feature_submit_stable() {
        return Err(Unavailable::TooOld("lossless completions (IORING_FEAT_NODROP)"));
    }
    let features = Features {
        defer_taskrun: wanted.defer_taskrun && wanted.single_issuer,
        skip_success: wanted.skip_success && parameters.is_feature_skip_cqe_on_success(),
        no_iowait: wanted.no_iowait && parameters.is_feature_no_iowait(),
        ..wanted
    };
    Ok((ring, features))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_what_is_missing() {
        assert_eq!(Features::ALL.to_string(), "all features");
        let old = Features { defer_taskrun: false, no_iowait: false, ..Features::ALL };
        assert_eq!(old.to_string(), "without defer_taskrun, no_iowait");
    }

    #[test]
    fn a_forbidden_ring_is_not_an_old_kernel() {
        let forbidden = Unavailable::from(io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(forbidden, Unavailable::Forbidden(_)), "{forbidden}");
        assert_eq!(io::Error::from(forbidden).kind(), io::ErrorKind::PermissionDenied);
        let missing = Unavailable::from(io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(matches!(missing, Unavailable::Missing), "{missing}");
    }

    #[test]
    fn less_can_be_asked_for() {
        let allowed = Features { single_issuer: false, ..Features::ALL };
        let Ok((ring, features)) = build(8, allowed) else {
            return assert!(probe_uring().is_err());
        };
        assert!(!features.single_issuer && !features.defer_taskrun);
        assert!(!ring.params().is_setup_single_issuer());
    }
}
