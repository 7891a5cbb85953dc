//! Where log lines go and what they look like.
//!
//! Purpose: set `tracing` up once, for the whole process.
//! Never: filter or format on behalf of one module.

use std::io;
use std::panic;
use std::sync::OnceLock;

use thiserror::Error;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{Layer, Registry};

use super::writer::{LogTally, Sink};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

/// Least severity written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may need one.
    Warn,
    /// And what an operator wants to know afterwards.
    Info,
    /// And every session's start and end.
    Debug,
    /// And every decision.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// The log could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The fault of the program, which did so twice.
    #[error("the log is set up already")]
    Twice,
    /// The operating system's.
    #[error("the log's thread cannot start: {0}")]
    Thread(io::ErrorKind),
}

/// Dropping it waits until the last lines are written, unless nobody reads them.
#[derive(Debug)]
#[must_use]
pub struct LogGuard(Sink);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush_all();
    }
}

static TALLY: LogTally = LogTally::new();

/// Log lines of this process that nobody took in time.
#[must_use]
pub fn log_lines_dropped() -> u64 {
    TALLY.dropped()
}

/// Sends the log lines of all threads to standard error, from now until the process ends. Whoever
/// logs does not wait for it: a thread writes.
///
/// # Errors
/// [`LogError`] when called a second time, or when there can be no thread.
pub fn start_log(format: LogFormat, level: LogLevel) -> Result<LogGuard, LogError> {
    let sink = Sink::start(io::stderr(), &TALLY).map_err(|error| LogError::Thread(error.kind()))?;
    let (subscriber, handle) = log(format, level, writer_to(&sink));
    set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    // Set once: setting the subscriber succeeds once.
    drop(CHANGE.set((handle, sink.clone())));
    // A panic ends the process: what led to it is to be read before it.
    let (last, report) = (sink.clone(), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        last.flush_all();
        report(info);
    }));
    Ok(LogGuard(sink))
}

fn writer_to(sink: &Sink) -> impl Fn() -> Sink + Send + Sync + 'static {
    let sink = sink.clone();
    move || sink.clone()
}

/// Changes format and level of a log that was started.
pub fn change_log(format: LogFormat, level: LogLevel) {
    if let Some((handle, sink)) = CHANGE.get() {
        // Fails only when the subscriber is gone, and then nobody writes.
        drop(handle.reload(lines(format, level, writer_to(sink))));
    }
}

static CHANGE: OnceLock<(Handle<Lines, Registry>, Sink)> = OnceLock::new();

/// What writes lines: boxed, because a reload may put another format in its place.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

fn log<W>(
    format: LogFormat,
    level: LogLevel,
    writer: W,
) -> (impl Subscriber + Send + Sync, Handle<Lines, Registry>)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (layer, handle) = reload::Layer::new(lines(format, level, writer));
    (Registry::default().with(layer), handle)
}

fn lines<W>(format: LogFormat, level: LogLevel, writer: W) -> Lines
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = LevelFilter::from(level);
    // No colours: the lines mostly end in a journal or a file.
    let layer = fmt::layer().with_ansi(false).with_writer(writer);
    match format {
        LogFormat::Text => layer.with_target(false).and_then(level).boxed(),
        // Fields at the top of the object, where collectors look for them.
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .and_then(level)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;
    use crate::base::Time;
    use crate::log_limited;

    /// Log lines in memory.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `act` runs, without the times, which come first on each line.
    fn written<S>(subscriber: impl FnOnce(Page) -> S, act: impl FnOnce()) -> Vec<String>
    where
        S: Subscriber + Send + Sync + 'static,
    {
        let page = Page::default();
        with_default(subscriber(page.clone()), act);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn text_at(level: LogLevel) -> impl FnOnce(Page) -> Box<dyn Subscriber + Send + Sync> {
        move |page| Box::new(log(LogFormat::Text, level, move || page.clone()).0)
    }

    #[test]
    fn text_lines_are_for_people() {
        let lines = written(text_at(LogLevel::Info), || {
            tracing::info!(client = 7, "hello");
            tracing::debug!("not this one");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].ends_with("  INFO hello client=7"), "{lines:?}");
    }

    #[test]
    fn json_lines_are_for_machines() {
        let subscriber = |page: Page| log(LogFormat::Json, LogLevel::Info, move || page.clone()).0;
        let lines = written(subscriber, || tracing::warn!(client = 7, "say \"hello\""));
        assert_eq!(lines.len(), 1, "{lines:?}");
        let expected = r#""level":"WARN","message":"say \"hello\"","client":7,"target":"weir::"#;
        assert!(lines[0].contains(expected) && lines[0].ends_with('}'), "{lines:?}");
    }

    #[test]
    fn format_and_level_change_while_lines_are_written() {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, handle) = log(LogFormat::Text, LogLevel::Info, move || writer.clone());
        with_default(subscriber, || {
            // One call site: what it found at first must not be all it ever knows.
            for turn in 0..3 {
                tracing::debug!(turn, "say");
                if turn == 0 {
                    let writer = page.clone();
                    let json = lines(LogFormat::Json, LogLevel::Debug, move || writer.clone());
                    handle.reload(json).unwrap();
                }
                if turn == 1 {
                    let writer = page.clone();
                    let text = lines(LogFormat::Text, LogLevel::Error, move || writer.clone());
                    handle.reload(text).unwrap();
                }
            }
            tracing::error!("still here");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(r#""message":"say","turn":1"#), "{lines:?}");
        assert!(lines[1].ends_with("ERROR still here"), "{lines:?}");
    }

    #[test]
    fn each_level_includes_the_ones_above() {
        let levels = [
            (LogLevel::Error, 1),
            (LogLevel::Warn, 2),
            (LogLevel::Info, 3),
            (LogLevel::Debug, 4),
            (LogLevel::Trace, 5),
        ];
        for (level, expected) in levels {
            let lines = written(text_at(level), || {
                tracing::error!("e");
                tracing::warn!("w");
                tracing::info!("i");
                tracing::debug!("d");
                tracing::trace!("t");
            });
            assert_eq!(lines.len(), expected, "{level:?}: {lines:?}");
        }
    }

    #[test]
    fn limited_lines_say_how_many_are_missing() {
        let lines = written(text_at(LogLevel::Info), || {
            for millisecond in 0..=1_000_u64 {
                let now = Time::from_nanos(millisecond * 1_000_000);
                log_limited!(now, warn, millisecond, "refused");
            }
        });
        assert_eq!(lines.len(), 11, "{lines:?}");
        assert!(lines[9].ends_with("WARN refused millisecond=9"), "{lines:?}");
        assert!(lines[10].ends_with("WARN refused suppressed=990 millisecond=1000"), "{lines:?}");
    }
}
