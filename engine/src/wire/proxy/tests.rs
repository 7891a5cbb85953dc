//! Headers of both versions: as the document and real senders write them, cut at every byte, and
//! what must be refused.

use proptest::prelude::*;

use super::*;

fn origin(source: &str, destination: &str) -> Origin {
    Origin::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family, high, low], rest].concat()
}

/// Whole, with something behind it, and cut at every byte.
fn check(header: &[u8], expected: Origin) {
    assert_eq!(parse(header), Ok(Some((expected, header.len()))));
    let longer = [header, b"\x4a\0\0\0\x0a5.5.5"].concat();
    assert_eq!(parse(&longer), Ok(Some((expected, header.len()))));
    for cut in 0..header.len() {
        assert_eq!(parse(&header[..cut]), Ok(None), "{cut} of {}", header.escape_ascii());
    }
}

#[test]
fn lines_of_version_1() {
    check(
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        origin("192.168.0.1:56324", "192.168.0.11:443"),
    );
    check(b"PROXY TCP6 ::1 2001:db8::2 1 65535\r\n", origin("[::1]:1", "[2001:db8::2]:65535"));
    check(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 0\r\n", origin("0.0.0.0:0", "255.255.255.255:0"));
    check(b"PROXY UNKNOWN\r\n", Origin::Itself);
    // The longest the document allows.
    let address = "ffff:f...f:ffff ".replace("...", "fff:ffff:ffff:ffff:ffff:fff").repeat(2);
    let longest = format!("PROXY UNKNOWN {address}65535 65535\r\n");
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    check(longest.as_bytes(), Origin::Itself);
}

#[test]
fn headers_of_version_2() {
    let four = [192, 0, 2, 1, 198, 51, 100, 7, 0xC3, 0x50, 0x0C, 0xEA];
    let expected = origin("192.0.2.1:50000", "198.51.100.7:3306");
    check(&version_2(PROXY, TCP4, &four), expected);
    // With extras: a unique id and a TLS block, as haproxy and cloud balancers add them.
    let extras = [&four[..], &[0x05, 0, 4, 1, 2, 3, 4, 0x20, 0, 5, 7, 0, 0, 0, 0]].concat();
    check(&version_2(PROXY, TCP4, &extras), expected);
    let six = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
    check(
        &version_2(PROXY, TCP6, &six),
        origin(
            "[2020:2020:2020:2020:2020:2020:2020:2020]:1",
            "[3030:3030:3030:3030:3030:3030:3030:3030]:2",
        ),
    );
    check(&version_2(PROXY, UNIX_STREAM, &[b'/'; 216]), Origin::Unix);
    check(&version_2(PROXY, UNSPECIFIED, &[]), Origin::Itself);
    check(&version_2(PROXY, UNSPECIFIED, &[1, 2, 3]), Origin::Itself);
    check(&version_2(LOCAL, UNSPECIFIED, &[]), Origin::Itself);
    // Health checks may carry anything, of any family.
    check(&version_2(LOCAL, TCP4, &four), Origin::Itself);
    check(&version_2(LOCAL, 0x77, &[]), Origin::Itself);
    check(&version_2(LOCAL, 0, &vec![0; HEADER_BYTES_MAX - HEAD_BYTES]), Origin::Itself);
}

#[test]
fn what_is_no_header_is_refused() {
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2];
    let mut other_signature = version_2(PROXY, TCP4, &four);
    other_signature[4] = 1;
    let cases = [
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"\x21\0\0\x01\x85\xa6\xff".to_vec(),
        b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        b"PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx\n".to_vec(),
        line(""),
        line("UDP4 1.2.3.4 5.6.7.8 1 2"),
        line("TCP4"),
        line("TCP4 1.2.3.4 5.6.7.8 1"),
        line("TCP4 1.2.3.4 5.6.7.8 1 2 3"),
        line("TCP4 1.2.3.4 5.6.7.8 1 2 "),
        line("TCP4  1.2.3.4 5.6.7.8 1 2"),
        line("TCP4 1.2.3.4 5.6.7.8 1 65536"),
        line("TCP4 1.2.3.4 5.6.7.8 -1 2"),
        line("TCP4 1.2.3.4 5.6.7.8 +1 2"),
        line("TCP4 1.2.3.4 5.6.7.8 01 2"),
        line("TCP4 1.2.3 5.6.7.8 1 2"),
        line("TCP4 1.2.3.04 5.6.7.8 1 2"),
        line("TCP4 ::1 ::1 1 2"),
        line("TCP6 1.2.3.4 5.6.7.8 1 2"),
        line("TCP4 1.2.3.\u{664} 5.6.7.8 1 2"),
        line(&"UNKNOWN ".repeat(20)),
        vec![b'P'; 200],
        [b"PROXY UNKNOWN ".as_slice(), &[b' '; 200]].concat(),
        other_signature,
        version_2(0x22, TCP4, &four),
        version_2(0x11, TCP4, &four),
        version_2(PROXY, 0x12, &four),
        version_2(PROXY, 0x13, &four),
        version_2(PROXY, 0x41, &four),
        version_2(PROXY, TCP4, &four[..11]),
        version_2(PROXY, TCP4, &[]),
        version_2(PROXY, TCP6, &[0; 35]),
        version_2(PROXY, UNIX_STREAM, &[0; 215]),
        version_2(PROXY, UNSPECIFIED, &vec![0; HEADER_BYTES_MAX - HEAD_BYTES + 1]),
    ];
    for bytes in cases {
        assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
        // Refused for good: no longer beginning is taken for a whole header.
        let answers: Vec<_> = (0..=bytes.len()).map(|cut| parse(&bytes[..cut])).collect();
        let first = answers.iter().position(Result::is_err).unwrap();
        assert!(answers[..first].iter().all(|answer| *answer == Ok(None)));
        assert!(answers[first..].iter().all(Result::is_err), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_written_reads_back() {
    let written = |origin| {
        let mut out = BytesMut::new();
        encode(origin, &mut out);
        parse(&out).map(|read| read.map(|(origin, length)| (origin, out.len() - length)))
    };
    let local = Ok(Some((Origin::Itself, 0)));
    assert_eq!(written(Origin::Itself), local);
    assert_eq!(written(Origin::Unix), local);
    for (source, destination) in [("192.0.2.1:5", "192.0.2.2:6"), ("[::1]:5", "[2001:db8::1]:6")] {
        let origin = origin(source, destination);
        assert_eq!(written(origin), Ok(Some((origin, 0))));
    }
    let mixed = origin("192.0.2.1:5", "[2001:db8::1]:6");
    let mapped = origin("[::ffff:192.0.2.1]:5", "[2001:db8::1]:6");
    assert_eq!(written(mixed), Ok(Some((mapped, 0))));
}

proptest! {
    #[test]
    fn any_bytes(data in any::<Vec<u8>>()) {
        crate::fuzz::proxy(&data);
        crate::fuzz::proxy(&[&SIGNATURE[..], &[0x21], &data].concat());
        crate::fuzz::proxy(&[b"PROXY TCP4 ", &data[..]].concat());
    }

    /// A line as real senders make it.
    #[test]
    fn any_addresses(source: SocketAddr, destination: SocketAddr) {
        let mut out = BytesMut::new();
        encode(Origin::Tcp { source, destination }, &mut out);
        let Ok(Some((Origin::Tcp { source: read, .. }, _))) = parse(&out) else {
            return Err(TestCaseError::fail("no TCP header"));
        };
        prop_assert_eq!(read.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(read.port(), source.port());
        if source.is_ipv4() == destination.is_ipv4() {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!(
                "PROXY {family} {} {} {} {}\r\n",
                source.ip(), destination.ip(), source.port(), destination.port(),
            );
            let Ok(Some((Origin::Tcp { source: read, .. }, length))) = parse(line.as_bytes()) else {
                return Err(TestCaseError::fail(line));
            };
            // Neither version has a place for a scope.
            let found = (read.ip(), read.port(), length);
            prop_assert_eq!(found, (source.ip(), source.port(), line.len()));
        }
    }
}
