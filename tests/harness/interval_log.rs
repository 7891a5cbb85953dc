//! HDR interval logs, as any other program would read them.
//!
//! Purpose: histograms by tag.
//! Never: use code of Weir.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

/// The histograms of a log, by tag.
///
/// # Errors
/// When it is no such log, or a tag comes twice.
pub fn read_interval_log(log: &[u8]) -> Result<BTreeMap<String, Histogram<u64>>> {
    let mut histograms = BTreeMap::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(log) {
        let entry = entry.map_err(|error| anyhow!("{error:?}"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let tag = interval.tag().context("an interval without a tag")?.as_str().to_owned();
        let bytes = base64(interval.encoded_histogram())?;
        let histogram = deserializer
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| anyhow!("{tag}: {error}"))?;
        if histograms.insert(tag.clone(), histogram).is_some() {
            bail!("{tag} comes twice");
        }
    }
    Ok(histograms)
}

/// The reader's own decoder is not public.
fn base64(text: &str) -> Result<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    ensure!(text.len().is_multiple_of(4), "base64 of an odd length");
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            let digit = LETTERS.iter().position(|known| known == letter).context("not base64")?;
            bits = bits << 6 | u32::try_from(digit)?;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend(bits.to_be_bytes().into_iter().skip(1).take(group.len() - 1));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("+/8A", &[0xFB, 0xFF, 0]),
        ] {
            assert_eq!(base64(text).unwrap(), bytes);
        }
        assert!(base64("Zg=").is_err() && base64("Z*==").is_err());
    }
}
