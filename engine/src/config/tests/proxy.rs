//! Who says by a PROXY header who the client is, and whom Weir says it.

use std::net::IpAddr;

use expect_test::expect;

use super::{MINIMAL, accepted, check_replaced};

const CLUSTER: &str = "cluster = \"main\"";
const ROLE: &str = "role = \"primary\"";

#[test]
fn an_endpoint_lists_networks() {
    let line = "proxy_protocol_networks = [\"10.0.0.0/8\", \"fd00::/8\", \"192.0.2.7\"]";
    let text = MINIMAL.replacen(CLUSTER, &format!("{CLUSTER}\n{line}"), 1);
    let networks = &accepted(&text).endpoints[0].proxy_protocol_networks;
    let any = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        networks.iter().any(|network| network.contains(address))
    };
    assert!(["10.1.2.3", "fd12::", "192.0.2.7"].into_iter().all(any));
    assert!(!["11.1.2.3", "fe12::", "192.0.2.8"].into_iter().any(any));
    for empty in ["", "\nproxy_protocol_networks = []"] {
        let text = MINIMAL.replacen(CLUSTER, &format!("{CLUSTER}{empty}"), 1);
        assert!(accepted(&text).endpoints[0].proxy_protocol_networks.is_empty());
    }
}

#[test]
fn every_network_that_is_none_is_a_problem() {
    check_replaced(
        CLUSTER,
        &format!("{CLUSTER}\nproxy_protocol_networks = [\"10.0.0.1/8\", \"::1\", \"lb.example\"]"),
        expect![[r#"
            line 13: endpoint[0].proxy_protocol_networks = "10.0.0.1/8": has bits set behind its prefix of 8
            line 13: endpoint[0].proxy_protocol_networks = "lb.example": must be a network such as 10.0.0.0/8, 192.0.2.7 or fd00::/8
        "#]],
    );
    for wrong in ["\"10.0.0.0/8\"", "[1]", "true"] {
        let text = format!("{CLUSTER}\nproxy_protocol_networks = {wrong}");
        let text = MINIMAL.replacen(CLUSTER, &text, 1);
        let problems = crate::config::parse(&text, &super::World).unwrap_err();
        assert_eq!(problems.len(), 1, "{wrong}");
        assert_eq!(problems[0].path, "endpoint[0].proxy_protocol_networks", "{wrong}");
    }
}

#[test]
fn a_unix_socket_has_no_networks() {
    let listen = "listen = \"127.0.0.1:6033\"";
    check_replaced(
        listen,
        "listen = \"unix:/a\"\nproxy_protocol_networks = [\"10.0.0.0/8\"]",
        expect![[r#"
            line 9: endpoint[0].proxy_protocol_networks: says nothing here: clients of a unix socket are in no network
        "#]],
    );
    let text = "listen = \"unix:/a\"\nproxy_protocol_networks = []";
    accepted(&MINIMAL.replacen(listen, text, 1));
}

#[test]
fn a_backend_is_told_or_not() {
    for (word, told) in [("true", true), ("false", false)] {
        let text = MINIMAL.replacen(ROLE, &format!("{ROLE}\nproxy_protocol = {word}"), 1);
        assert_eq!(accepted(&text).backends[0].proxy_protocol, told);
    }
    check_replaced(
        ROLE,
        &format!("{ROLE}\nproxy_protocol = \"v2\""),
        expect![[r#"
            line 9: cluster[0].backend[0].proxy_protocol = "v2": must be true or false
        "#]],
    );
}
