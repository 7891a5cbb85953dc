//! `HOST:PORT`.
//!
//! Purpose: turn an address as written into a socket address, asking the caller for host names.
//! Never: resolve a name itself.

use std::net::{IpAddr, SocketAddr};

use super::Lookup;

/// The socket address of `HOST:PORT`.
///
/// # Errors
/// What is wrong with the text or the name, for the person who wrote it.
pub(super) fn parse(text: &str, lookup: &dyn Lookup) -> Result<SocketAddr, String> {
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
pub(super) fn reaches(target: SocketAddr, listen: SocketAddr) -> bool {
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
const WANTED: &str = "must be HOST:PORT, such as 127.0.0.1:3306, db1.example:3306 or [::1]:3306";

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
        ];
        for (target, listen, expected) in table {
            let found = reaches(target.parse().unwrap(), listen.parse().unwrap());
            assert_eq!(found, expected, "{target} {listen}");
        }
    }
}
