//! The thread that writes the log.
//!
//! Purpose: a worker that logs hands over a line and goes on, however slow standard error is.
//! Never: make the caller wait, hold more than a bounded number of lines and bytes, or lose lines
//! silently: what did not fit is counted and said.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait to be written.
const LINES_MAX: usize = 4096;
/// Their bytes, in all.
const BYTES_MAX: usize = 4 << 20;
/// Lines are written together up to about this many bytes.
const BATCH_BYTES: usize = 64 << 10;
/// How long the end of the process waits for the last lines, should nobody read them.
const FLUSH_MAX: Duration = Duration::from_secs(2);
const FLUSH_RETRY: Duration = Duration::from_millis(5);

/// What became of log lines.
#[derive(Debug, Default)]
pub(super) struct LogTally {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl LogTally {
    pub(super) const fn new() -> Self {
        Self { waiting_bytes: AtomicUsize::new(0), dropped: AtomicU64::new(0) }
    }

    /// Lines that were not written because too much waited, or could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_lines(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before this is to be written; then say so.
    Flush(SyncSender<()>),
}

/// Where `tracing` writes: each call of `write` is a whole line.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    sender: SyncSender<Message>,
    tally: &'static LogTally,
}

impl Sink {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The operating system's, when there can be no thread.
    pub(super) fn start<W>(out: W, tally: &'static LogTally) -> io::Result<Self>
    where
        W: Write + Send + 'static,
    {
        let (sender, receiver) = sync_channel(LINES_MAX);
        thread::Builder::new()
            .name("weir-log".to_owned())
            .spawn(move || write_all(out, &receiver, tally))?;
        Ok(Self { sender, tally })
    }

    /// Waits until what was logged so far is written, but not for ever.
    pub(super) fn flush_all(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(FLUSH_RETRY);
        }
        // Late or never makes no difference: the process ends.
        let left = deadline.saturating_duration_since(Instant::now());
        written.recv_timeout(left).unwrap_or_default();
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let waiting = self.tally.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = waiting + line.len() <= BYTES_MAX;
        if !fits || self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.tally.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.tally.drop_lines(1);
        }
        // An error would make `tracing` write to standard error itself, and wait.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread: takes what is there, writes it in one piece, and says what is missing.
fn write_all(mut out: impl Write, receiver: &Receiver<Message>, tally: &LogTally) {
    let mut batch = Vec::new();
    let mut told = 0;
    while let Ok(first) = receiver.recv() {
        let mut lines = 0;
        let mut flushes = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.extend_from_slice(&line);
                    lines += 1;
                }
                Message::Flush(done) => flushes.push(done),
            }
            next = if batch.len() < BATCH_BYTES { receiver.try_recv().ok() } else { None };
        }
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            tally.drop_lines(lines);
        }
        tally.waiting_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        batch.shrink_to(BATCH_BYTES);
        for done in flushes {
            // Who waited too long is gone.
            done.try_send(()).unwrap_or_default();
        }
        let dropped = tally.dropped();
        if dropped > told {
            tracing::warn!(dropped = dropped - told, "log lines are missing: nobody took them");
            told = dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes one write for every message that comes through the gate, and all once it is closed.
    struct Gated {
        gate: Receiver<()>,
        entered: Sender<()>,
        page: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).unwrap_or_default();
            self.gate.recv().unwrap_or_default();
            self.page.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_sleeps_delays_nobody_and_what_is_lost_is_counted() {
        static TALLY: LogTally = LogTally::new();
        let (open, gate) = channel();
        let (entered, inside) = channel();
        let page = Arc::new(Mutex::new(Vec::new()));
        let mut sink = Sink::start(Gated { gate, entered, page: page.clone() }, &TALLY).unwrap();
        sink.write_all(b"first\n").unwrap();
        // The thread now waits for its reader; everything below happens meanwhile.
        inside.recv().unwrap();
        for _ in 0..LINES_MAX + 10 {
            sink.write_all(b"next\n").unwrap();
        }
        assert_eq!(TALLY.dropped(), 10);
        drop(open);
        sink.flush_all();
        let written = page.lock().unwrap().clone();
        assert_eq!(written.len(), "first\n".len() + LINES_MAX * "next\n".len());
        assert_eq!(TALLY.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        static TALLY: LogTally = LogTally::new();
        let (open, gate) = channel();
        let (entered, inside) = channel();
        let page = Arc::new(Mutex::new(Vec::new()));
        let mut sink = Sink::start(Gated { gate, entered, page: page.clone() }, &TALLY).unwrap();
        sink.write_all(b"first\n").unwrap();
        inside.recv().unwrap();
        let long = vec![b'x'; BYTES_MAX / 4];
        for _ in 0..5 {
            sink.write_all(&long).unwrap();
        }
        // Of the four quarters three fit beside the first line, which is not written yet.
        assert_eq!(TALLY.dropped(), 2);
        drop(open);
        sink.flush_all();
        assert_eq!(page.lock().unwrap().len(), "first\n".len() + 3 * long.len());
    }

    #[test]
    fn a_closed_standard_error_only_costs_the_lines() {
        static TALLY: LogTally = LogTally::new();
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Sink::start(Closed, &TALLY).unwrap();
        sink.write_all(b"one\n").unwrap();
        sink.flush_all();
        assert_eq!(TALLY.dropped(), 1);
    }
}
