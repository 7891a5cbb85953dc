//! What watches a proxy while it is under load.
//!
//! Purpose: ask Weir for its metrics every second, as Prometheus would at its most eager.
//! Never: let a page that did not come pass for one that cost nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{bail, ensure};

/// Scrapes from now on; see [`Scraping::stop`].
#[derive(Debug)]
pub(crate) struct Scraping {
    stop: Sender<()>,
    thread: JoinHandle<anyhow::Result<usize>>,
}

impl Scraping {
    /// Begins to scrape the pages at `address`, for the first time after `delay`.
    pub(crate) fn start(address: SocketAddr, delay: Duration) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut scrapes = 0;
            let mut wait = delay;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                page(address)?;
                scrapes += 1;
                wait = PERIOD;
            }
            Ok(scrapes)
        });
        Self { stop, thread }
    }

    /// Ends it; fails when a page did not come, or none was asked for.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        match self.thread.join() {
            Ok(scrapes) => ensure!(scrapes? > 0, "no scrape fell into the slice"),
            Err(_) => bail!("the scraping thread panicked"),
        }
        Ok(())
    }
}

/// The page of metrics at `address`.
pub(crate) fn page(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let good = page.starts_with("HTTP/1.1 200 ") && page.contains("\nweir_commands_total ");
    ensure!(good, "no page of metrics: {}", page.lines().next().unwrap_or_default());
    Ok(page)
}

const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
