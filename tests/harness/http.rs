//! HTTP as Weir's admin pages speak it.
//!
//! Purpose: send any bytes, take one answer apart.
//! Never: send a second request on a connection, or follow anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::raw::PATIENCE;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Header lines, without the status line, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Everything after the head.
    pub body: String,
}

impl HttpAnswer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Asks for a page.
///
/// # Errors
/// When there is no answer, or it is not HTTP.
pub fn http_get(address: SocketAddr, path: &str) -> Result<HttpAnswer> {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: weir\r\n\r\n"))
}

/// Sends a request as it is, and takes the answer apart, which ends with the connection.
///
/// # Errors
/// When there is no answer, or it is not HTTP.
pub fn http(address: SocketAddr, request: &str) -> Result<HttpAnswer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    // A server that refuses what it has not read resets behind its answer.
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        read?;
    }
    parse(&String::from_utf8(bytes)?)
}

fn parse(text: &str) -> Result<HttpAnswer> {
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no head: {text:?}"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).context("status")?;
    let status = status.split(' ').next().unwrap_or_default().parse()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").context("a header without a colon")?;
        Ok((name.to_ascii_lowercase(), value.to_owned()))
    };
    let headers = lines.map(header).collect::<Result<_>>()?;
    Ok(HttpAnswer { status, headers, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse("HTTP/1.1 405 No\r\nAllow: GET\r\nX-Y: a: b\r\n\r\nx\r\n\r\ny").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (405, "x\r\n\r\ny"));
        assert_eq!((answer.header("allow"), answer.header("x-y")), (Some("GET"), Some("a: b")));
        assert!(parse("HTTP/1.1 200 OK\r\n").is_err());
        assert!(parse("SSH-2.0\r\n\r\n").is_err());
    }
}
