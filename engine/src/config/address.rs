//! `HOST:PORT` and `unix:PATH`.
//!
//! Purpose: turn an address as written into one that can be used, asking the caller for host names.
//! Never: resolve a name itself, or look whether a path exists.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::Lookup;
use crate::base::Address;

/// The address a text means.
///
/// # Errors
/// What is wrong with the text or the name, for the person who wrote it.
pub(super) fn parse(text: &str, lookup: &dyn Lookup) -> Result<Address, String> {
    match text.strip_prefix(UNIX) {
        Some(path) => unix(path),
        None => tcp(text, lookup).map(Address::Tcp),
    }
}

fn unix(path: &str) -> Result<Address, String> {
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err("must be unix: and the absolute path of a socket".to_owned());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("must have a path of at most {PATH_BYTES_MAX} bytes"));
    }
    Ok(Address::Unix(Path::new(path).into()))
}

fn tcp(text: &str, lookup: &dyn Lookup) -> Result<SocketAddr, String> {
    let address = match text.parse() {
        Ok(address) => address,
        Err(_) => named(text, lookup)?,
    };
    if address.port() == 0 {
        return Err("must have a port from 1 to 65535".to_owned());
    }
    Ok(address)
}

fn named(text: &str, lookup: &dyn Lookup) -> Result<SocketAddr, String> {
    let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| is_host_name(host)) else {
        return Err(WANTED.to_owned());
    };
    // Not `parse` alone: it takes "+3306".
    let port = port.parse().ok().filter(|_| port.bytes().all(|digit| digit.is_ascii_digit()));
    let port = port.ok_or("must have a port from 1 to 65535")?;
    let found = lookup.resolve(host).map_err(|error| format!("cannot be resolved: {error}"))?;
    // Most servers listen on IPv4 only even where a name, above all localhost, has both.
    let address = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    Ok(SocketAddr::new(*address.ok_or("cannot be resolved: the name has no address")?, port))
}

/// Letters, digits, dots, dashes and underscores, and not four numbers gone wrong.
fn is_host_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty()
        && host.len() <= HOST_LEN_MAX
        && host.bytes().all(allowed)
        && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether what is sent to `target` arrives at a listener on `listen` of the same machine.
pub(super) fn reaches(target: &Address, listen: &Address) -> bool {
    match (target, listen) {
        (Address::Tcp(target), Address::Tcp(listen)) => reaches_tcp(*target, *listen),
        (Address::Unix(target), Address::Unix(listen)) => target == listen,
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    }
}

fn reaches_tcp(target: SocketAddr, listen: SocketAddr) -> bool {
    target.port() == listen.port()
        && (target.ip() == listen.ip()
            || target.ip().is_loopback() && covers(listen.ip(), target.ip()))
}

/// Whether a listener on the wildcard address `listen` also takes `target`: `::` takes both.
fn covers(listen: IpAddr, target: IpAddr) -> bool {
    listen.is_unspecified() && (listen.is_ipv6() || target.is_ipv4())
}

/// Longest name DNS has.
const HOST_LEN_MAX: usize = 253;
/// What the kernel's address of a unix socket holds, its NUL left out.
const PATH_BYTES_MAX: usize = 107;
const UNIX: &str = "unix:";
const WANTED: &str = "must be HOST:PORT, such as 127.0.0.1:3306, db1.example:3306 or [::1]:3306, or \
                      unix:PATH";

#[cfg(test)]
mod tests {
    use super::*;

    struct Names;

    impl Lookup for Names {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, _: &str) -> Result<String, String> {
            Err("no files".to_owned())
        }

        fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
            let six = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
            match host {
                "both" => Ok(vec![six, IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]),
                "six" => Ok(vec![six]),
                "none" => Ok(Vec::new()),
                _ => Err("no such host".to_owned()),
            }
        }
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = parse(text, &Names).map(|address| address.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn takes_addresses_and_names() {
        check("127.0.0.1:3306", Ok("127.0.0.1:3306"));
        check("[::1]:3306", Ok("[::1]:3306"));
        check("both:1", Ok("10.0.0.1:1"));
        check("six:65535", Ok("[::1]:65535"));
        check("unix:/run/weir.sock", Ok("unix:/run/weir.sock"));
        let longest = format!("unix:/{}", "x".repeat(106));
        check(&longest, Ok(&longest));
    }

    #[test]
    fn says_what_is_wrong() {
        let port = Err("must have a port from 1 to 65535");
        for text in ["127.0.0.1:0", "both:0", "both:65536", "both:", "both:+1", "[::1]:0"] {
            check(text, port);
        }
        for text in ["", ":", ":1", "both", "127.0.0.1", "1.2.3:1", "::1:3306", "a b:1", "[both]:1"]
        {
            check(text, Err(WANTED));
        }
        let path = Err("must be unix: and the absolute path of a socket");
        for text in ["unix:", "unix:a", "unix:./a", "unix:/", "unix:/a/", "unix:/a\0b"] {
            check(text, path);
        }
        let long = format!("unix:/{}", "x".repeat(107));
        check(&long, Err("must have a path of at most 107 bytes"));
        check("none:1", Err("cannot be resolved: the name has no address"));
        check("other:1", Err("cannot be resolved: no such host"));
    }

    #[test]
    fn knows_its_own_listeners() {
        let table = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("10.0.0.1:1", "0.0.0.0:1", false),
            ("10.0.0.1:1", "10.0.0.1:1", true),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "0.0.0.0:1", false),
            ("127.0.0.1:1", "unix:/a", false),
        ];
        for (target, listen, expected) in table {
            let address = |text| parse(text, &Names).unwrap();
            let found = reaches(&address(target), &address(listen));
            assert_eq!(found, expected, "{target} {listen}");
        }
    }
}
