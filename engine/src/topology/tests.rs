//! Which observations are news.

use std::sync::Arc;

use super::*;
use crate::base::{Address, BackendId, ClusterId};
use crate::config::{Config, Offline, Role, parse};
use crate::testdata::recording;
use crate::wire::{Capabilities, Greeting};

mod discovery;
mod events;
mod lags;
mod probes;
mod roles;

const CONFIG: &str = r#"
[[cluster]]
name = "main"
monitor = { user = "m", password = "" }
[[cluster.backend]]
name = "db1"
address = "127.0.0.1:3306"
role = "replica"
[[cluster.backend]]
name = "db2"
address = "127.0.0.1:3307"
role = "primary"
[[cluster]]
name = "other"
monitor = { user = "m", password = "" }
[[cluster.backend]]
name = "db3"
address = "127.0.0.1:3308"
role = "primary"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "main"
[[user]]
name = "u"
password = "p"
"#;

fn config() -> Config {
    parse(CONFIG, &Offline).unwrap()
}

fn greeting() -> Greeting {
    Greeting::parse(recording("greeting").payload()).unwrap()
}

#[test]
fn at_first_nothing_is_known_but_the_configuration() {
    let snapshot = Topology::new(&config()).current();
    assert_eq!(snapshot.generation, 0);
    assert!(snapshot.backends.iter().all(|view| !view.reachable && view.greeting.is_none()));
    let names: Vec<_> = snapshot.backends.iter().map(|view| &*view.name).collect();
    assert_eq!(names, ["db1", "db2", "db3"]);
    let primary = |cluster| snapshot.primary(ClusterId(cluster)).map(|view| &*view.name);
    assert_eq!([primary(0), primary(1), primary(2)], [Some("db2"), Some("db3"), None]);
    let second = snapshot.backend(BackendId(1)).unwrap();
    assert_eq!(
        (second.id, second.role, second.cluster),
        (BackendId(1), Role::Primary, ClusterId(0))
    );
    assert!(snapshot.backend(BackendId(3)).is_none());
}

/// Each observation, and whether it was news.
#[test]
fn only_what_differs_is_published() {
    use Observation::{Answered, LoggedIn, Unreachable};
    let said = || Answered(Box::default());
    let hello = |change: fn(&mut Greeting)| {
        let mut greeting = greeting();
        change(&mut greeting);
        LoggedIn(Arc::new(greeting))
    };
    let steps: [(Observation, bool); 15] = [
        (Unreachable, false),
        (hello(|_| ()), true),
        (said(), false),
        // Every connection has its own id and nonce; the status says nothing of the server.
        (hello(|g| (g.connection_id, g.nonce) = (7, [7; 20])), false),
        (hello(|g| g.version = b"11.4.2-MariaDB".to_vec()), true),
        (hello(|g| g.version = b"11.4.2-MariaDB".to_vec()), false),
        (hello(|_| ()), true),
        (hello(|g| g.collation = 33), true),
        (hello(|g| g.plugin = b"x".to_vec()), true),
        (hello(|g| g.capabilities = Capabilities::PROTOCOL_41), true),
        (Unreachable, true),
        (Unreachable, false),
        (said(), true),
        (Unreachable, true),
        (hello(|g| g.capabilities = Capabilities::PROTOCOL_41), true),
    ];
    let mut topology = Topology::new(&config());
    let mut generation = 0;
    for (index, (observation, news)) in steps.into_iter().enumerate() {
        let reachable = !matches!(observation, Unreachable);
        let told = match &observation {
            LoggedIn(greeting) => Some(Arc::clone(greeting)),
            Answered(_) | Unreachable => None,
        };
        let published = topology.observe(BackendId(1), observation);
        assert_eq!(published.is_some(), news, "step {index}");
        generation += u64::from(news);
        let current = topology.current();
        assert_eq!(current.generation, generation, "step {index}");
        let view = current.backend(BackendId(1)).unwrap();
        assert_eq!(view.reachable, reachable, "step {index}");
        if let Some(told) = told {
            assert!(Arc::ptr_eq(view.greeting.as_ref().unwrap(), &told), "the latest is kept");
        }
        if let Some(published) = published {
            assert_eq!(published.generation, generation);
        }
        // The others are not spoken of.
        assert!(!current.backends[0].reachable && !current.backends[2].reachable);
    }
    assert!(topology.observe(BackendId(9), said()).is_none(), "nobody of that id");
}

/// What was published stays as it was.
#[test]
fn a_snapshot_does_not_change() {
    let mut topology = Topology::new(&config());
    let first =
        topology.observe(BackendId(0), Observation::LoggedIn(Arc::new(greeting()))).unwrap();
    let second = topology.observe(BackendId(0), Observation::Unreachable).unwrap();
    assert_eq!((first.generation, second.generation), (1, 2));
    assert!(first.backends[0].reachable && !second.backends[0].reachable);
    // What it said of itself is still shown to clients.
    assert!(second.backends[0].greeting.is_some());
}

#[test]
fn a_reload_keeps_what_is_known_of_unchanged_backends() {
    let mut topology = Topology::new(&config());
    for id in 0..3 {
        topology.observe(BackendId(id), Observation::LoggedIn(Arc::new(greeting())));
    }
    let before = topology.current().generation;
    // db1 is gone, db2 stays, db3 moves, db4 is new; so positions change.
    let text = CONFIG
        .replace("name = \"db1\"", "name = \"db4\"")
        .replace("127.0.0.1:3306", "127.0.0.1:4406")
        .replace("127.0.0.1:3308", "127.0.0.1:4408");
    topology.reload(&parse(&text, &Offline).unwrap());
    let snapshot = topology.current();
    assert_eq!(snapshot.generation, before + 1);
    let known: Vec<_> = snapshot
        .backends
        .iter()
        .map(|view| (&*view.name, view.reachable, view.greeting.is_some()))
        .collect();
    assert_eq!(known, [("db4", false, false), ("db2", true, true), ("db3", false, false)]);
    let find = |name, address: &str| topology.find(name, &Address::Tcp(address.parse().unwrap()));
    assert_eq!(find("db2", "127.0.0.1:3307"), Some(BackendId(1)));
    assert_eq!(find("db3", "127.0.0.1:3308"), None, "a sighting of where it was");
    assert_eq!(find("db1", "127.0.0.1:3306"), None);
}
