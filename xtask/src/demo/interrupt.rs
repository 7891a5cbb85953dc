//! Ctrl-C, and its relatives.
//!
//! Purpose: learn that a person wants to stop, while steps run.
//! Never: end the process before the steps could tidy up, unless asked twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code of a program ended by SIGINT, as shells count it.
const INTERRUPTED: i32 = 130;

/// Whether somebody wants to stop.
pub(super) struct Interrupt {
    seen: Arc<AtomicBool>,
    first: Mutex<Receiver<()>>,
}

impl Interrupt {
    pub(super) fn install() -> Result<Self> {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch signals")?;
        let seen = Arc::new(AtomicBool::new(false));
        let (sender, first) = mpsc::channel();
        let flag = Arc::clone(&seen);
        thread::spawn(move || {
            for _ in signals.forever() {
                if flag.swap(true, Ordering::Relaxed) {
                    // The second time the person means now; our children die with us.
                    std::process::exit(INTERRUPTED);
                }
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { seen, first: Mutex::new(first) })
    }

    /// Whether it has happened.
    pub(super) fn seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }

    /// An error if it has happened; called between steps.
    pub(super) fn check(&self) -> Result<()> {
        if self.seen() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits for it; gives whether it has happened.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let Ok(first) = self.first.lock() else { return true };
        match first.recv_timeout(patience) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => self.seen(),
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}
