//! Prometheus' text format, version 0.0.4.
//!
//! Purpose: print families as their specification wants them, from the table of metrics.
//! Never: print a metric that is not in the table, or a label that it does not list.

use std::fmt::{Display, Write};

use super::catalog::{Metric, MetricKind};
use super::counters::Totals;
use super::latency::{BUCKETS, Latency};

/// A page under construction.
#[derive(Debug, Default)]
pub struct MetricsPage {
    text: String,
}

impl MetricsPage {
    /// What the page says it is.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// All counters of all workers together.
    pub fn counters(&mut self, totals: &Totals) {
        for (counter, value) in totals.iter() {
            self.head(counter.name(), counter.help(), MetricKind::Counter);
            self.line(counter.name(), "", &[], None, value);
        }
    }

    /// A metric with one value per set of label values, which are in the table's order.
    pub fn family<L: AsRef<[S]>, S: AsRef<str>, V: Display>(
        &mut self,
        metric: Metric,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.head(metric.name(), metric.help(), metric.kind());
        for (values, value) in samples {
            self.line(metric.name(), "", &labels(metric, values.as_ref()), None, value);
        }
    }

    /// A metric without labels.
    pub fn single(&mut self, metric: Metric, value: impl Display) {
        const NONE: [&str; 0] = [];
        self.family(metric, [(NONE, value)]);
    }

    /// Histograms of one metric.
    pub fn histograms<'l, L: AsRef<[S]>, S: AsRef<str>>(
        &mut self,
        metric: Metric,
        samples: impl IntoIterator<Item = (L, &'l Latency)>,
    ) {
        self.head(metric.name(), metric.help(), metric.kind());
        let name = metric.name();
        for (values, latency) in samples {
            let labels = labels(metric, values.as_ref());
            for ((bound, _), count) in BUCKETS.iter().zip(latency.buckets()) {
                self.line(name, "_bucket", &labels, Some(bound), count);
            }
            self.line(name, "_bucket", &labels, Some("+Inf"), latency.count());
            self.line(name, "_sum", &labels, None, Seconds(latency.sum_nanos()));
            self.line(name, "_count", &labels, None, latency.count());
        }
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: MetricKind) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word()));
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&'static str, &str)],
        bound: Option<&str>,
        value: impl Display,
    ) {
        self.write(format_args!("{name}{suffix}"));
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (label, value) in all {
            self.write(format_args!("{before}{label}=\"{}\"", escaped(value)));
            before = ',';
        }
        self.write(format_args!("{} {value}\n", if before == ',' { "}" } else { "" }));
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        self.text.write_fmt(arguments).unwrap_or_default();
    }
}

/// Nanoseconds, printed as seconds without rounding.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND)
    }
}

fn labels<S: AsRef<str>>(metric: Metric, values: &[S]) -> Vec<(&'static str, &str)> {
    debug_assert_eq!(metric.labels().len(), values.len(), "{}", metric.name());
    metric.labels().iter().copied().zip(values.iter().map(AsRef::as_ref)).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::observe::{Counter, Counters, sum};

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = MetricsPage::default();
        page.family(Metric::BuildInfo, [(["a\\b", "c\"d", "e\nf"], 1)]);
        expect![[r#"
            # HELP weir_build_info Always 1; the labels say what runs.
            # TYPE weir_build_info gauge
            weir_build_info{version="a\\b",commit="c\"d",driver="e\nf"} 1
        "#]]
        .assert_eq(&page.finish());
    }

    #[test]
    fn a_metric_without_labels_has_no_braces() {
        let mut page = MetricsPage::default();
        page.single(Metric::Turns, 7);
        assert!(page.finish().ends_with("\nweir_turns_total 7\n"));
    }

    #[test]
    fn histograms_have_every_bucket_their_sum_and_their_count() {
        let mut latency = Latency::default();
        latency.record(300_000, 1);
        latency.record(100_000_000_000, 1);
        let mut page = MetricsPage::default();
        page.histograms(Metric::LoginDuration, [(["app"], &latency)]);
        let text = page.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines.len(), BUCKETS.len() + 3);
        let name = "weir_login_duration_seconds";
        assert_eq!(lines[2], format!("{name}_bucket{{endpoint=\"app\",le=\"0.00025\"}} 0"));
        assert_eq!(lines[3], format!("{name}_bucket{{endpoint=\"app\",le=\"0.0005\"}} 1"));
        assert_eq!(lines[19], format!("{name}_bucket{{endpoint=\"app\",le=\"+Inf\"}} 2"));
        assert_eq!(lines[20], format!("{name}_sum{{endpoint=\"app\"}} 100.000300000"));
        assert_eq!(lines[21], format!("{name}_count{{endpoint=\"app\"}} 2"));
    }

    #[test]
    fn every_counter_is_on_the_page() {
        let counters = std::sync::Arc::new(Counters::new());
        counters.add(Counter::Commands, 5);
        let mut page = MetricsPage::default();
        page.counters(&sum(&[counters]));
        let text = page.finish();
        assert_eq!(text.lines().count(), 3 * Counter::ALL.len());
        assert!(text.contains("# TYPE weir_commands_total counter\nweir_commands_total 5\n"));
    }
}
