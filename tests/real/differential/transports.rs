//! The same commands over every transport.
//!
//! Purpose: how bytes travel on either side of Weir changes no packet of a reply. Each way of a
//! client before a plain backend and each way to a backend behind a plain client carry the whole
//! stream; every pair of other ways carries a short one.
//! Never: compare with what a server says over compression: it numbers the packets inside as its
//! own flushes fell, so the model is always its plain connection.
//!
//! With EOF packets on one driver, without on the other: dialects are a matter of the session, and
//! drivers know none.

use weir::wire::Capabilities;

use super::dialogue::Step;
use super::{MODERN, Model, OLDEST, stream};
use crate::fixture::{On, Proxy, on_every_server};
use crate::transport::{Secured, Transport, Used};

on_every_server!(
    replies_are_the_servers_over_every_way_of_a_client,
    replies_are_the_servers_over_every_way_to_a_backend,
    replies_are_the_servers_over_every_pair_of_ways,
    large_packets_are_the_servers_over_tls_and_compression,
);

type Stream = fn(&str, Capabilities, weir_tests::Flavour) -> Vec<Step>;

fn dialect(on: On) -> Capabilities {
    if on.driver == "epoll" { MODERN } else { OLDEST }
}

fn replies_are_the_servers_over_every_way_of_a_client(on: On) {
    let ways = Transport::ALL.into_iter().filter(|way| *way != Transport::PLAIN);
    compare(on, "diff_clients", stream::all, ways.map(|way| (way, Transport::PLAIN)).collect());
}

fn replies_are_the_servers_over_every_way_to_a_backend(on: On) {
    let ways = Transport::known_to(on.flavour).filter(|way| *way != Transport::PLAIN);
    compare(on, "diff_backends", stream::all, ways.map(|way| (Transport::PLAIN, way)).collect());
}

fn replies_are_the_servers_over_every_pair_of_ways(on: On) {
    let pairs = Transport::known_to(on.flavour)
        .flat_map(|behind| Transport::ALL.map(|before| (before, behind)))
        // Those are above.
        .filter(|(before, behind)| ![*before, *behind].contains(&Transport::PLAIN));
    compare(on, "diff_pairs", stream::short, pairs.collect());
}

/// Frames of one layer that are cut by the frames of the next, many times.
fn large_packets_are_the_servers_over_tls_and_compression(on: On) {
    compare(
        on,
        "diff_large_ways",
        stream::larger,
        vec![(Transport::TLS_ZSTD, Transport::TLS_ZLIB)],
    );
}

/// Runs a stream directly and through Weir over pairs of ways: before it and behind it.
fn compare(on: On, test: &str, stream: Stream, pairs: Vec<(Transport, Transport)>) {
    let secured = Secured::shared(on);
    let model = Model::new(on, secured.server(), test, dialect(on), stream);
    let mut pairs = pairs.into_iter().peekable();
    // One Weir for each way behind.
    while let Some((_, behind)) = pairs.peek().copied() {
        let proxy = Proxy::start_with(on, &secured.config(on, behind));
        while let Some((before, _)) = pairs.next_if(|(_, other)| *other == behind) {
            let earlier = Used::of(&proxy.weir);
            model.compare(proxy.weir.address(), before, behind);
            let now = Used::of(&proxy.weir);
            assert_eq!(now.handshakes > earlier.handshakes, before.tls, "{before:?}");
            let compresses = [before, behind].iter().any(|way| way.compression.is_some());
            assert_eq!(now.compressed > earlier.compressed, compresses, "{before:?}, {behind:?}");
        }
        proxy.finish();
    }
}
