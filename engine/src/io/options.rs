//! What a driver is made with.
//!
//! Purpose: sizes and limits, with defaults.
//! Never: choose a driver; `choose` does.

use crate::io::buf::BufferSizes;
use crate::io::uring::Features;

/// Sizes of a driver.
#[derive(Clone, Copy, Debug)]
pub struct DriverOptions {
    /// Receive buffers.
    pub buffers: BufferSizes,
    /// Submission queue entries of a ring; its completion queue has four times as many. For epoll,
    /// events taken per call.
    pub entries: u32,
    /// What the ring may use of what the kernel has; tests take features away.
    pub allowed: Features,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self { buffers: BufferSizes::default(), entries: 256, allowed: Features::ALL }
    }
}
