//! What stands behind the question mark of a request.
//!
//! Purpose: its keys and values, decoded as forms encode them.
//! Never: guess at what is encoded wrongly.

/// The pairs of a query; `None` if one is not encoded as it should be.
pub(super) fn pairs(query: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((String::from_utf8(decoded(name)?).ok()?, decoded(value)?))
    };
    parts.map(pair).collect()
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            plain => plain,
        });
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_wrong_ones_are_not() {
        let read = |query: &str| {
            let pairs = pairs(query)?;
            let text = pairs.iter().map(|(name, value)| format!("{name}:{}", value.escape_ascii()));
            Some(text.collect::<Vec<_>>().join(" "))
        };
        let cases = [
            ("", Some("")),
            ("a=b", Some("a:b")),
            ("&a=&&b&", Some("a: b:")),
            ("sql=SELECT+1%2b1%20%3D%ff", Some("sql:SELECT 1+1 =\\xff")),
            ("a=b=c", Some("a:b=c")),
            ("%61=%C3%BC", Some("a:\\xc3\\xbc")),
            ("a=%", None),
            ("a=%2", None),
            ("a=%g0", None),
            ("a=%+1", None),
            ("%ff=1", None),
        ];
        for (query, expected) in cases {
            assert_eq!(read(query).as_deref(), expected, "{query}");
        }
    }
}
