//! The PROXY protocol: what a balancer says before MySQL's first byte, so that the real client's
//! address is known behind it. Versions 1 and 2, as in haproxy's `doc/proxy-protocol.txt`.
//!
//! Purpose: read a header of either version from the first bytes of a connection, write version 2.
//! Never: decide who may send one; resolve or trust what it says.
//!
//! ```text
//! v1: PROXY TCP4 192.0.2.1 198.51.100.1 50123 3306\r\n           (at most 107 bytes)
//! v2: 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A | 2c | ff | length (BE) | addresses | extras
//!     c: 0 LOCAL, 1 PROXY; ff: 00 none, 11 TCP over IPv4, 21 over IPv6, 31 unix stream
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

use crate::wire::{Malformed, Reader};

/// Whom a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the sender speaks for itself (a health check), or does not know.
    Itself,
    /// A process on the sender's machine, through a unix socket.
    Unix,
    /// A TCP connection.
    Tcp {
        /// The client's address.
        source: SocketAddr,
        /// The address the client connected to.
        destination: SocketAddr,
    },
}

/// Reads the header `bytes` begin with: whom it names, and its length. `None` while bytes are
/// missing; never when there are more than [`HEADER_BYTES_MAX`].
///
/// # Errors
/// There is no header, or it is longer than allowed or says what does not fit together.
pub fn parse(bytes: &[u8]) -> Result<Option<(Origin, usize)>, Malformed> {
    if begins(bytes, &SIGNATURE) {
        parse_2(bytes)
    } else if begins(bytes, WORD) {
        parse_1(bytes)
    } else {
        Err(Malformed::new("a connection does not begin with a PROXY header"))
    }
}

/// Whether `bytes` begin with `prefix`, as far as they go.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, wanted)| byte == wanted)
}

fn parse_1(bytes: &[u8]) -> Result<Option<(Origin, usize)>, Malformed> {
    let line = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() < LINE_BYTES_MAX { Ok(None) } else { Err(BAD_LINE) };
    };
    let line = line.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(BAD_LINE)?;
    let line = std::str::from_utf8(line).map_err(|_| BAD_LINE)?;
    let mut words = line.split(' ').skip(1);
    let origin = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => Origin::Itself,
        Some("TCP4") => line_addresses::<Ipv4Addr>(words).ok_or(BAD_LINE)?,
        Some("TCP6") => line_addresses::<Ipv6Addr>(words).ok_or(BAD_LINE)?,
        Some(_) | None => return Err(BAD_LINE),
    };
    Ok(Some((origin, end + 1)))
}

/// `SOURCE DESTINATION PORT PORT`, and nothing else.
fn line_addresses<'w, A>(mut words: impl Iterator<Item = &'w str>) -> Option<Origin>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let mut ip = || words.next()?.parse::<A>().ok().map(Into::into);
    let (source, destination): (IpAddr, IpAddr) = (ip()?, ip()?);
    let mut port = || {
        // Not `parse` alone: it takes "+3306", and the document forbids leading zeros.
        let word = words.next()?;
        let plain = word == "0" || !word.starts_with(['0', '+']);
        word.parse().ok().filter(|_: &u16| plain)
    };
    let (source_port, destination_port) = (port()?, port()?);
    words.next().is_none().then(|| Origin::Tcp {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn parse_2(bytes: &[u8]) -> Result<Option<(Origin, usize)>, Malformed> {
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Ok(None) };
    let mut head = Reader::new(head);
    head.bytes(SIGNATURE.len())?;
    let [version_and_command, family, high, low] = head.array()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if HEAD_BYTES + length > HEADER_BYTES_MAX {
        return Err(Malformed::new("a PROXY header is too long"));
    }
    if !matches!(version_and_command, LOCAL | PROXY) {
        return Err(Malformed::new("a PROXY header has an unknown version or command"));
    }
    let Some(rest) = bytes.get(HEAD_BYTES..HEAD_BYTES + length) else { return Ok(None) };
    let mut rest = Reader::named(rest, "a PROXY header's addresses run past its end");
    let origin = match family {
        // Of a health check the addresses are to be ignored, whatever they are.
        _ if version_and_command == LOCAL => Origin::Itself,
        UNSPECIFIED => Origin::Itself,
        TCP4 => {
            let (source, destination) = (rest.array::<4>()?, rest.array::<4>()?);
            tcp(source.into(), destination.into(), &mut rest)?
        }
        TCP6 => {
            let (source, destination) = (rest.array::<16>()?, rest.array::<16>()?);
            tcp(source.into(), destination.into(), &mut rest)?
        }
        UNIX_STREAM => {
            rest.bytes(2 * UNIX_PATH_BYTES)?;
            Origin::Unix
        }
        _ => return Err(Malformed::new("a PROXY header names no stream of a known kind")),
    };
    Ok(Some((origin, HEAD_BYTES + length)))
}

fn tcp(source: IpAddr, destination: IpAddr, rest: &mut Reader<'_>) -> Result<Origin, Malformed> {
    let mut port = || rest.array().map(u16::from_be_bytes);
    let (source_port, destination_port) = (port()?, port()?);
    Ok(Origin::Tcp {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Appends a header of version 2. Addresses of two families are written as IPv6. A client on a unix
/// socket is not named: to the receiver it would be a process on the receiver's own machine.
pub fn encode(origin: Origin, out: &mut BytesMut) {
    out.put_slice(&SIGNATURE);
    match origin {
        Origin::Itself | Origin::Unix => out.put_slice(&[LOCAL, UNSPECIFIED, 0, 0]),
        Origin::Tcp { source, destination } => {
            if let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) {
                out.put_slice(&[PROXY, TCP4, 0, 12]);
                out.put_slice(&from.octets());
                out.put_slice(&to.octets());
            } else {
                out.put_slice(&[PROXY, TCP6, 0, 36]);
                out.put_slice(&six(source.ip()).octets());
                out.put_slice(&six(destination.ip()).octets());
            }
            out.put_u16(source.port());
            out.put_u16(destination.port());
        }
    }
}

const fn six(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Bytes of the longest header that is read, extras included.
pub const HEADER_BYTES_MAX: usize = 4 << 10;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const WORD: &[u8] = b"PROXY ";
/// Up to where the length of version 2 is known.
const HEAD_BYTES: usize = 16;
/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
const BAD_LINE: Malformed = Malformed::new("a PROXY line is malformed");

/// Version 2 in the upper four bits.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const UNIX_PATH_BYTES: usize = 108;

#[cfg(test)]
mod tests;
