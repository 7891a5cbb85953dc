//! Prometheus' text format, read as strictly as it is specified.
//!
//! Purpose: find every mistake that promtool would, and hand out values.
//! Never: forgive anything.

use std::collections::BTreeMap;
use std::str::Chars;

use anyhow::{Context, Result, bail, ensure};

/// A page, checked.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// By name, then by labels in their order of names.
    series: BTreeMap<Series, f64>,
    types: BTreeMap<String, String>,
}

/// A name and its labels.
pub type Series = (String, BTreeMap<String, String>);

impl Metrics {
    /// Reads a page.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(text.ends_with('\n'), "the last line has no end");
        let mut metrics = Self::default();
        let mut family: Option<String> = None;
        let mut helped: Option<&str> = None;
        for (line, number) in text.lines().zip(1..) {
            metrics
                .line(line, &mut family, &mut helped)
                .with_context(|| format!("line {number}: {line}"))?;
        }
        ensure!(helped.is_none(), "a HELP without a TYPE");
        metrics.check_histograms()?;
        Ok(metrics)
    }

    /// The value of a series; `None` when it is not there.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.series.get(&(name.to_owned(), labels.collect())).copied()
    }

    /// The value of a series that has to be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        self.get(name, labels).with_context(|| format!("no {name} {labels:?}"))
    }

    /// Every series and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.series.iter().map(|(series, value)| (series, *value))
    }

    /// The names of all series that may only grow: counters, and everything of histograms.
    #[must_use]
    pub fn grows(&self, name: &str) -> bool {
        let kind = |name: &str| self.types.get(name).map(String::as_str);
        kind(name) == Some("counter")
            || base_of(name).is_some_and(|it| kind(it) == Some("histogram"))
    }

    fn line<'t>(
        &mut self,
        line: &'t str,
        family: &mut Option<String>,
        helped: &mut Option<&'t str>,
    ) -> Result<()> {
        ensure!(!line.is_empty() && line.trim() == line, "blank or blanks around it");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').context("no text")?;
            ensure!(!text.is_empty() && helped.replace(name).is_none(), "HELP out of place");
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("no type")?;
            ensure!(helped.take() == Some(name), "TYPE without its HELP");
            check_name(name, ":_")?;
            ensure!(["counter", "gauge", "histogram"].contains(&kind), "an unknown type");
            ensure!(name.ends_with("_total") == (kind == "counter"), "the name of a counter");
            let again = self.types.insert(name.to_owned(), kind.to_owned());
            ensure!(again.is_none(), "the family comes twice");
            *family = Some(name.to_owned());
            return Ok(());
        }
        ensure!(
            !line.starts_with('#') && helped.is_none(),
            "a stray comment, or HELP without TYPE"
        );
        let (series, value) = sample(line)?;
        let of = family.as_deref().context("a sample before its family")?;
        let histogram = self.types.get(of).is_some_and(|kind| kind == "histogram");
        let name = series.0.as_str();
        let belongs = if histogram { base_of(name) == Some(of) } else { name == of };
        ensure!(belongs, "a sample outside its family");
        ensure!(series.1.contains_key("le") == name.ends_with("_bucket"), "le where it is not due");
        ensure!(self.series.insert(series, value).is_none(), "a series comes twice");
        Ok(())
    }

    /// Buckets grow up to `+Inf`, which is the count; each has a sum.
    fn check_histograms(&self) -> Result<()> {
        let mut buckets: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.series {
            let Some(base) = name.strip_suffix("_bucket") else { continue };
            let mut labels = labels.clone();
            let bound: f64 = labels.remove("le").context("a bucket without le")?.parse()?;
            buckets.entry((base.to_owned(), labels)).or_default().push((bound, *value));
        }
        for ((base, labels), mut bounds) in buckets {
            bounds.sort_by(|one, two| one.0.total_cmp(&two.0));
            ensure!(bounds.is_sorted_by_key(|(_, count)| *count), "{base} {labels:?} shrinks");
            let last = bounds.last().copied().unwrap_or_default();
            let of = |suffix: &str| self.series.get(&(format!("{base}{suffix}"), labels.clone()));
            ensure!(last.0.is_infinite(), "{base} {labels:?} has no +Inf");
            ensure!(of("_count") == Some(&last.1), "{base} {labels:?}: +Inf is not the count");
            ensure!(of("_sum").is_some(), "{base} {labels:?} has no sum");
        }
        Ok(())
    }
}

/// The family of a histogram's series.
fn base_of(name: &str) -> Option<&str> {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix))
}

fn check_name(name: &str, also: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
    ensure!(!name.is_empty() && !first_is_digit && name.chars().all(allowed), "name {name:?}");
    Ok(())
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Result<(Series, f64)> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, rest) = line.split_at(end);
    check_name(name, ":_")?;
    let mut chars = rest.chars();
    let mut labels = BTreeMap::new();
    if rest.starts_with('{') {
        chars.next();
        labels = read_labels(&mut chars)?;
    }
    let value = chars.as_str().strip_prefix(' ').context("no blank before the value")?;
    let value: f64 = value.parse().context("not a number")?;
    ensure!(value.is_finite(), "no value here is infinite");
    Ok(((name.to_owned(), labels), value))
}

/// Up to behind the closing brace.
fn read_labels(chars: &mut Chars<'_>) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    loop {
        let rest = chars.as_str();
        let (name, after) = rest.split_once("=\"").context("a label without a value")?;
        check_name(name, "_")?;
        *chars = after.chars();
        let mut value = String::new();
        loop {
            match chars.next().context("a label's value does not end")? {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => bail!("unknown escape {other:?}"),
                }),
                other => value.push(other),
            }
        }
        ensure!(labels.insert(name.to_owned(), value).is_none(), "label {name} comes twice");
        match chars.next() {
            Some(',') => {}
            Some('}') => return Ok(labels),
            other => bail!("{other:?} after a label"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# HELP a_total b c\n# TYPE a_total counter\n";

    #[test]
    fn values_are_found_by_name_and_labels() {
        let text = format!("{HEAD}a_total{{x=\"1\\\\2\\\"3\\n\",y=\"\"}} 4.5\n");
        let metrics = Metrics::parse(&text).unwrap();
        assert_eq!(metrics.get("a_total", &[("y", ""), ("x", "1\\2\"3\n")]), Some(4.5));
        assert_eq!(metrics.get("a_total", &[]), None);
        assert!(metrics.grows("a_total"));
    }

    #[test]
    fn mistakes_are_found() {
        for wrong in [
            "a_total 1",
            "a_total\n",
            "a_total  1\n",
            "a_total x\n",
            "a_total{} 1\n",
            "a_total{x=\"1\" } 1\n",
            "a_total{x=\"1\",} 1\n",
            "a_total{x=\"1\",x=\"2\"} 1\n",
            "a_total{x=\"\\t\"} 1\n",
            "a_total{le=\"1\"} 1\n",
            "b_total 1\n",
            "a_total 1\na_total 2\n",
            "a_total NaN\n",
            "\na_total 1\n",
            "# TYPE a_total counter\na_total 1\n",
            "# HELP b d\n",
        ] {
            assert!(Metrics::parse(&format!("{HEAD}{wrong}")).is_err(), "{wrong:?} was accepted");
        }
        assert!(Metrics::parse("a_total 1\n").is_err());
        assert!(Metrics::parse("# HELP a b\n# TYPE a counter\na 1\n").is_err());
    }

    #[test]
    fn histograms_must_be_whole() {
        let check = |lines: &[&str]| {
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            Metrics::parse(&format!("# HELP h t\n# TYPE h histogram\n{lines}"))
        };
        let whole = ["h_bucket{le=\"1\"} 1", "h_bucket{le=\"+Inf\"} 2", "h_sum 9", "h_count 2"];
        assert!(check(&whole).unwrap().grows("h_bucket"));
        for missing in 1..4 {
            let mut lines = whole.to_vec();
            lines.remove(missing);
            assert!(check(&lines).is_err(), "without {}", whole[missing]);
        }
        let shrinking = ["h_bucket{le=\"1\"} 3", "h_bucket{le=\"+Inf\"} 2", "h_sum 9", "h_count 2"];
        assert!(check(&shrinking).is_err());
    }
}
