//! Histograms as files other programs read.
//!
//! Purpose: write the HDR V2 interval log format, which tools of many languages add up and plot.
//! Never: read a clock.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::figures::Figures;
use super::latency::Latency;

/// What the log says it is.
pub const INTERVAL_LOG_TYPE: &str = "text/plain; charset=utf-8";

/// All histograms that have counted anything, as one interval each, from the start until now.
///
/// # Errors
/// Never in practice: memory takes everything that is written to it.
pub fn interval_log(
    figures: &Figures,
    started: SystemTime,
    uptime: Duration,
) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    // Deflated: what readers of other languages expect.
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Weir: latencies in microseconds since the start of the process]")
        .with_start_time(started)
        .with_base_time(started);
    let mut log = builder.begin_log_with(&mut out, &mut serializer)?;
    for (name, latency) in tagged(figures) {
        let Some(histogram) = latency.to_histogram() else { continue };
        log.write_histogram(&histogram, Duration::ZERO, uptime, Tag::new(&name))
            .map_err(|error| std::io::Error::other(error.to_string()))?;
    }
    Ok(out)
}

fn tagged(figures: &Figures) -> impl Iterator<Item = (String, &Latency)> {
    let endpoints = figures.endpoints.iter().flat_map(|endpoint| {
        [
            (format!("command:{}", endpoint.name), &endpoint.commands),
            (format!("login:{}", endpoint.name), &endpoint.logins),
            (format!("causal-wait:{}", endpoint.name), &endpoint.waits),
        ]
    });
    let backends = figures
        .backends
        .iter()
        .map(|backend| (format!("backend-login:{}", backend.name), &backend.logins));
    endpoints.chain(backends)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::base::{BackendId, EndpointId};

    /// Tag, start, duration and longest value of each interval.
    fn read(log: &[u8]) -> Vec<(&str, Duration, Duration, f64)> {
        let interval = |entry| match entry {
            Ok(LogEntry::Interval(it)) => {
                let tag = it.tag().unwrap().as_str();
                Some((tag, it.start_timestamp(), it.duration(), it.max()))
            }
            Ok(_) => None,
            Err(error) => panic!("{error:?}"),
        };
        IntervalLogIterator::new(log).filter_map(interval).collect()
    }

    #[test]
    fn each_histogram_with_a_count_is_an_interval_with_its_tag() {
        let mut figures = Figures::default();
        figures.adopt(["app", "idle"].into_iter(), ["db1"].into_iter());
        for micros in [100, 200] {
            figures.commands(EndpointId(0), micros * 1_000, 1);
        }
        figures.login(EndpointId(0), 7_000);
        figures.backend_login(BackendId(0), 50_000);
        let uptime = Duration::from_secs(9);
        let log = interval_log(&figures, SystemTime::UNIX_EPOCH, uptime).unwrap();
        let interval = |tag, longest| (tag, Duration::ZERO, uptime, longest);
        let expected = [
            interval("command:app", 200.0),
            interval("login:app", 7.0),
            interval("backend-login:db1", 50.0),
        ];
        assert_eq!(read(&log), expected);
    }

    #[test]
    fn nothing_counted_is_an_empty_log() {
        let log =
            interval_log(&Figures::default(), SystemTime::UNIX_EPOCH, Duration::ZERO).unwrap();
        assert!(read(&log).is_empty());
        assert!(log.starts_with(b"#[Weir: "));
    }
}
