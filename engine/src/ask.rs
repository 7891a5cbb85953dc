//! A question to a running Weir.
//!
//! Purpose: ask one admin page over HTTP and give its text, or say plainly why there is none.
//! Never: wait without end, or take more than a page can be.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

/// To be connected, and for each step of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer is shorter.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What an answer begins with.
const HTTP: &[u8] = b"HTTP/1.";

/// What is asked of `/explain`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// The endpoint; the only one, if it is left out.
    pub(crate) endpoint: Option<&'a str>,
    /// The session's `sql_mode`.
    pub(crate) sql_mode: &'a str,
    /// For programs.
    pub(crate) json: bool,
    /// The statement.
    pub(crate) sql: &'a [u8],
}

/// Asks the Weir whose admin pages are at `admin`, as in `127.0.0.1:6032`.
pub(crate) fn ask(admin: &str, question: &Question<'_>) -> anyhow::Result<String> {
    let mut stream = connect(admin)?;
    let bytes = exchange(&mut stream, &request(admin, question))
        .with_context(|| format!("the Weir on {admin} does not answer"))?;
    let (status, body) = answer(&bytes)
        .with_context(|| format!("what listens on {admin} is not the admin page of a Weir"))?;
    match status {
        200 => Ok(body),
        // This Weir is older than its own program.
        404 if body.starts_with("pages are ") => bail!("the Weir on {admin} has no /explain yet"),
        _ => bail!("the Weir on {admin} says: {}", body.trim_end()),
    }
}

fn connect(admin: &str) -> anyhow::Result<TcpStream> {
    let addresses = admin
        .to_socket_addrs()
        .with_context(|| format!("'{admin}' is no address such as 127.0.0.1:6032"))?;
    let mut last = anyhow!("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&reachable(address), PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last).with_context(|| format!("no Weir answers on {admin}"))
}

/// Where something that listens on every address is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let ip = if address.ip().is_unspecified() { loopback } else { address.ip() };
    (ip, address.port()).into()
}

fn request(admin: &str, question: &Question<'_>) -> Vec<u8> {
    let mut query = format!("sql_mode={}", encoded(question.sql_mode));
    if let Some(endpoint) = question.endpoint {
        query = format!("{query}&endpoint={}", encoded(endpoint));
    }
    if question.json {
        query.push_str("&format=json");
    }
    let length = question.sql.len();
    let head = format!(
        "POST /explain?{query} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), question.sql].concat()
}

/// For a value in a query.
fn encoded(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else if write!(out, "%{byte:02X}").is_err() {
            // A string takes whatever there is.
            break;
        }
    }
    out
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
            // Behind an answer to what was not read, a reset is all that comes.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => {
                return Ok(bytes);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("nothing came for {} s", PATIENCE.as_secs())
            }
            Err(error) => return Err(error.into()),
        }
        // Something that is no HTTP server may greet, and wait.
        let is_http = bytes.starts_with(HTTP) || HTTP.starts_with(&bytes);
        if !is_http || bytes.len() > ANSWER_BYTES_MAX {
            return Ok(bytes);
        }
    }
}

/// Status and body.
fn answer(bytes: &[u8]) -> anyhow::Result<(u16, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("it does not speak HTTP")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.context("it does not speak HTTP")?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length > body.len()) {
        bail!("the answer was cut");
    }
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_request() {
        let question =
            Question { endpoint: Some("a b&ü"), sql_mode: "", json: true, sql: b"SELECT '\xFF'" };
        let request = request("h:1", &question);
        let text = String::from_utf8_lossy(&request);
        assert!(text.starts_with("POST /explain?sql_mode=&endpoint=a%20b%26%C3%BC&format=json HT"));
        assert!(text.contains("\r\nContent-Length: 10\r\n"), "{text}");
        assert!(request.ends_with(b"\r\n\r\nSELECT '\xFF'"));
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let read = |text: &str| answer(text.as_bytes()).ok();
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(read(ok), Some((200, "abc".to_owned())));
        assert_eq!(read("HTTP/1.0 404 No\r\n\r\n"), Some((404, String::new())));
        for odd in ["", "5.5.5-10.11-MariaDB\0", "HTTP/1.1\r\n\r\n", "SSH-2\r\n\r\n", &ok[..40]] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn every_address_is_reached_on_this_machine() {
        let of = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:5"), "127.0.0.1:5");
        assert_eq!(of("[::]:5"), "[::1]:5");
        assert_eq!(of("192.0.2.1:5"), "192.0.2.1:5");
    }
}
