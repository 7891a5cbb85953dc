//! Which servers of a primary's list are wanted, and when one is forgotten.

use std::time::Duration;

use super::roles::{config_of, falls_silent, replica_of, says, writable};
use super::*;
use crate::base::Time;
use crate::config::with_found;

const LINES: &str = "discover = true\ndiscover_max = 2\ndiscover_forget_ms = 5000";

fn follower(server_id: u32, host: &str, port: u16) -> Follower {
    Follower { server_id: Some(server_id), uuid: None, host: host.into(), port }
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn hosts(look: &Look) -> Vec<String> {
    look.wanted.iter().map(|it| format!("{}:{} like {}", it.host, it.port, it.like)).collect()
}

#[test]
fn those_that_are_no_backends_are_wanted() {
    let config = config_of(3, |_| "auto", LINES);
    let mut topology = Topology::new(&config);
    let mut discovery = Discovery::default();
    assert!(discovery.look(&config, &topology, at(1)).wanted.is_empty());
    // b is known by its number, c by its address, whoever asks.
    says(&mut topology, 'b', Facts { server_id: Some(2), ..replica_of('a') });
    falls_silent(&mut topology, 'c');
    let followers = vec![
        follower(2, "elsewhere.example", 3306),
        follower(3, "10.0.0.3", 3306),
        follower(4, "db4.example", 3307),
        follower(5, "", 3306),
        follower(6, "db6.example", 0),
    ];
    says(&mut topology, 'a', Facts { followers: Some(followers.clone()), ..writable() });
    let look = discovery.look(&config, &topology, at(2));
    assert_eq!(hosts(&look), ["db4.example:3307 like a"]);
    assert_eq!((look.remarks.len(), look.forgotten.len()), (2, 0));
    assert!(look.remarks[0].contains("server_id 5") && look.remarks[0].contains("report_host"));
    // Neither said nor tried again, for a while.
    let look = discovery.look(&config, &topology, at(31));
    assert_eq!((hosts(&look).len(), look.remarks.len()), (0, 0));
    assert_eq!(hosts(&discovery.look(&config, &topology, at(33))).len(), 1);
    // What a replica's list says is another matter.
    let followers = Some(vec![follower(9, "db9", 1)]);
    says(&mut topology, 'b', Facts { server_id: Some(2), followers, ..replica_of('a') });
    assert!(discovery.look(&config, &topology, at(34)).wanted.is_empty());
    // Nor is anybody looked for that was not asked for.
    let config = config_of(3, |_| "auto", "");
    let mut discovery = Discovery::default();
    assert!(discovery.look(&config, &topology, at(35)).wanted.is_empty());
}

#[test]
fn one_goes_when_it_is_missing_for_long_and_does_not_answer() {
    let file = config_of(1, |_| "auto", LINES);
    let mut topology = Topology::new(&file);
    let mut discovery = Discovery::default();
    let list = |topology: &mut Topology, followers: &[Follower]| {
        says(topology, 'a', Facts { followers: Some(followers.to_vec()), ..writable() });
    };
    let known = [follower(4, "10.0.9.4", 3307)];
    list(&mut topology, &known);
    let mut look = discovery.look(&file, &topology, at(1));
    let wanted = look.wanted.pop().unwrap();
    let address = "10.0.9.4:3307".parse().unwrap();
    assert!(discovery.add(&file, wanted.clone(), address));
    assert!(!discovery.add(&file, wanted.clone(), address), "twice");
    let config = with_found(&file, &discovery.found());
    topology.reload(&config);
    assert_eq!(config.backends.len(), 2);
    says(&mut topology, 'b', replica_of('a'));
    let mut forgotten =
        |topology: &Topology, seconds| discovery.look(&config, topology, at(seconds)).forgotten;
    // Missing for long, but it answers; then silent, but not missing; then both.
    list(&mut topology, &[]);
    assert!(forgotten(&topology, 2).is_empty() && forgotten(&topology, 20).is_empty());
    list(&mut topology, &known);
    falls_silent(&mut topology, 'b');
    assert!(forgotten(&topology, 30).is_empty());
    list(&mut topology, &[]);
    assert!(forgotten(&topology, 40).is_empty() && forgotten(&topology, 44).is_empty());
    // Nobody knows while the primary is silent.
    falls_silent(&mut topology, 'a');
    assert!(forgotten(&topology, 60).is_empty());
    list(&mut topology, &[]);
    assert_eq!(forgotten(&topology, 61), ["10.0.9.4-3307"]);
    assert!(discovery.found().is_empty());
}

#[test]
fn a_new_file_keeps_what_it_has_a_place_for() {
    let file = config_of(1, |_| "auto", LINES);
    let mut discovery = Discovery::default();
    let wanted = |host: &str, like: &str| Wanted {
        cluster: "main".into(),
        like: like.into(),
        host: host.into(),
        port: 3306,
    };
    for (host, fits) in [("10.0.0.2", true), ("10.0.0.3", true), ("10.0.0.4", false)] {
        let address = format!("{host}:3306").parse().unwrap();
        assert_eq!(discovery.add(&file, wanted(host, "a"), address), fits, "{host}");
    }
    discovery.settle(&file);
    assert_eq!(discovery.found().len(), 2);
    // The file names one of them itself.
    discovery.settle(&config_of(2, |_| "auto", LINES));
    let hosts: Vec<_> = discovery.found().into_iter().map(|found| found.host).collect();
    assert_eq!(hosts, ["10.0.0.3"]);
    discovery.settle(&config_of(1, |_| "auto", ""));
    assert!(discovery.found().is_empty());
}
