//! The control thread's async runtime.
//!
//! Purpose: tokio-uring where the kernel allows io_uring, plain tokio where it does not.
//! Never: run anything of the data path; tokio-uring has no multishot receive and costs more than
//! the relay may.

use std::future::Future;

use tokio::task::LocalSet;

use crate::bus::DriverKind;

/// Runs a future to its end on this thread.
///
/// # Errors
/// The operating system's, when the runtime cannot be made.
pub(super) fn block_on<T>(
    driver: DriverKind,
    future: impl Future<Output = T>,
) -> std::io::Result<T> {
    match driver {
        DriverKind::IoUring => Ok(tokio_uring::start(future)),
        DriverKind::Epoll => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(LocalSet::new().block_on(&runtime, future))
        }
    }
}
