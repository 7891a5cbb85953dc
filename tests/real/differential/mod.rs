//! The same commands to the server and through Weir.
//!
//! Purpose: every byte of every reply is the same, sequence ids included, for every dialect of the
//! protocol a client may negotiate. Commands are raw packets, because libraries send few of them.
//! Not compared: ids of statements and figures of COM_STATISTICS, which differ between two runs on
//! the server itself.

pub(crate) mod dialogue;
mod random;
mod stream;
mod transports;

use std::net::SocketAddr;

use weir::wire::Capabilities;
use weir_tests::{Flavour, Login, RawClient, Server};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, database, on_every_server};
use crate::transport::Transport;
use dialogue::{Dialogue, Reply, Step};

on_every_server!(
    replies_are_the_servers_in_the_oldest_dialect,
    replies_are_the_servers_without_eof,
    replies_are_the_servers_with_trackers,
    replies_are_the_servers_in_a_modern_dialect,
    replies_are_the_servers_in_the_latest_dialect,
    large_packets_are_the_servers,
);

/// What every client of the last twenty years can do.
pub(crate) const OLDEST: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::LOCAL_FILES);
pub(crate) const MODERN: Capabilities = OLDEST
    .union(Capabilities::DEPRECATE_EOF)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::PLUGIN_AUTH_LENENC)
    .union(Capabilities::FOUND_ROWS);

fn replies_are_the_servers_in_the_oldest_dialect(on: On) {
    compare(on, "diff_oldest", OLDEST, stream::all);
}

fn replies_are_the_servers_without_eof(on: On) {
    compare(on, "diff_eof", OLDEST.union(Capabilities::DEPRECATE_EOF), stream::all);
}

fn replies_are_the_servers_with_trackers(on: On) {
    compare(on, "diff_track", OLDEST.union(Capabilities::SESSION_TRACK), stream::all);
}

fn replies_are_the_servers_in_a_modern_dialect(on: On) {
    compare(on, "diff_modern", MODERN, stream::all);
}

fn replies_are_the_servers_in_the_latest_dialect(on: On) {
    let latest = match on.flavour {
        Flavour::MariaDb => MODERN
            .union(Capabilities::MARIADB_EXTENDED_METADATA)
            .union(Capabilities::MARIADB_CACHE_METADATA)
            .union(Capabilities::MARIADB_STMT_BULK_OPERATIONS),
        Flavour::MySql => MODERN
            .union(Capabilities::QUERY_ATTRIBUTES)
            .union(Capabilities::OPTIONAL_RESULTSET_METADATA),
    };
    compare(on, "diff_latest", latest, stream::all);
}

fn large_packets_are_the_servers(on: On) {
    compare(on, "diff_large", MODERN, stream::large);
}

/// Runs a stream directly and through Weir, and compares.
fn compare(
    on: On,
    test: &str,
    capabilities: Capabilities,
    stream: fn(&str, Capabilities, Flavour) -> Vec<Step>,
) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    let model = Model::new(on, server, test, capabilities, stream);
    model.compare(proxy.weir.address(), Transport::PLAIN, Transport::PLAIN);
    proxy.finish();
}

/// A stream, and what the server itself answers.
struct Model<'a> {
    on: On,
    server: &'a Server,
    test: &'a str,
    capabilities: Capabilities,
    steps: Vec<Step>,
    replies: Vec<Vec<Reply>>,
}

impl<'a> Model<'a> {
    fn new(
        on: On,
        server: &'a Server,
        test: &'a str,
        capabilities: Capabilities,
        stream: fn(&str, Capabilities, Flavour) -> Vec<Step>,
    ) -> Self {
        let capabilities = match on.flavour {
            // Which says by leaving it out that it is no MySQL.
            Flavour::MariaDb => capabilities.without(Capabilities::LONG_PASSWORD),
            Flavour::MySql => capabilities,
        };
        // So that MySQL knows the password: these clients have only the short exchange.
        server.client(USER, PASSWORD).query("SELECT 1").unwrap();
        let steps = stream(&database(server, test, on), capabilities, on.flavour);
        let mut model = Self { on, server, test, capabilities, steps, replies: Vec::new() };
        model.replies = model.ask(server.address(), Transport::PLAIN, Transport::PLAIN);
        assert_eq!(model.replies.len(), model.steps.len());
        model
    }

    /// A client of Weir that comes by one way gets the same replies from the server, which Weir
    /// reaches by another.
    fn compare(&self, weir: SocketAddr, before: Transport, behind: Transport) {
        let found = self.ask(weir, before, behind);
        assert_eq!(found.len(), self.steps.len());
        for ((step, direct), through) in self.steps.iter().zip(&self.replies).zip(&found) {
            assert!(
                through == direct,
                "{before:?}, {behind:?}: {}: another reply than that of {}\n\
                 direct  {}\nthrough {}",
                step.what,
                self.on.flavour,
                dialogue::shown(direct, through),
                dialogue::shown(through, direct),
            );
        }
    }

    fn ask(&self, address: SocketAddr, before: Transport, behind: Transport) -> Vec<Vec<Reply>> {
        database(self.server, self.test, self.on);
        let login = Login { capabilities: self.capabilities, ..Login::new(USER, PASSWORD) };
        let login = before.login(login);
        let mut client = RawClient::log_in(address, &login).unwrap();
        let all = client.capabilities == login.capabilities;
        assert!(all, "{address} does not offer everything");
        behind.check_of_server(self.on.flavour, &mut client);
        let mut dialogue = Dialogue::new(client);
        let replies = |step: &Step| {
            dialogue.run(step).unwrap_or_else(|error| {
                panic!("{address}, {before:?}, {behind:?}: {}: {error:#}", step.what)
            })
        };
        self.steps.iter().map(replies).collect()
    }
}
