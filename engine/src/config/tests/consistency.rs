//! How fresh reads have to be.

use std::time::Duration;

use super::*;
use crate::base::Consistency;
use crate::config::types::EndpointMode;

/// The minimal file with lines of its endpoint.
fn endpoint(lines: &str) -> String {
    MINIMAL.replacen("[[endpoint]]", &format!("[[endpoint]]\n{lines}"), 1)
}

fn level(lines: &str) -> Consistency {
    accepted(&endpoint(lines)).endpoints[0].routing.consistency
}

#[test]
fn every_level_has_its_word_and_a_session_sees_its_writes_by_default() {
    for mode in ["primary", "read-write"] {
        let mode = format!("mode = \"{mode}\"");
        assert_eq!(level(&mode), Consistency::Session, "{mode}");
        for it in Consistency::ALL {
            let lines = format!("{mode}\nconsistency = \"{}\"", it.name());
            assert_eq!(level(&lines), it, "{lines}");
        }
    }
    check(
        &endpoint("consistency = \"strong\"\ncausal_wait_ms = 60001"),
        expect![[r#"
        line 10: endpoint[0].consistency = "strong": must be "eventual", "session", "instance" or "global"
        line 11: endpoint[0].causal_wait_ms = 60001: must be between 0 and 60000
    "#]],
    );
}

#[test]
fn an_endpoint_without_a_primary_promises_nothing() {
    let mode = "mode = \"read-only\"";
    let said = format!("{mode}\nconsistency = \"eventual\"");
    assert_eq!([level(mode), level(&said)], [Consistency::Eventual; 2]);
    for it in &Consistency::ALL[1..] {
        let lines = format!("{mode}\nconsistency = \"{}\"", it.name());
        let problems = parse(&endpoint(&lines), &World).unwrap_err();
        let expected = format!(
            "line 11: endpoint[0].consistency = \"{}\": must be \"eventual\" with mode = \
             \"read-only\", which has no primary to fall back on\n",
            it.name()
        );
        assert_eq!(super::lines(&problems), expected);
    }
    // What is no level at all is said once.
    check(
        &endpoint(&format!("{mode}\nconsistency = \"strong\"")),
        expect![[r#"
        line 11: endpoint[0].consistency = "strong": must be "eventual", "session", "instance" or "global"
    "#]],
    );
}

#[test]
fn the_level_and_the_wait_change_while_weir_runs() {
    let old = accepted(&endpoint("mode = \"read-write\""));
    assert_eq!(old.endpoints[0].routing.causal_wait, Duration::from_millis(50));
    let lines = "mode = \"read-write\"\nconsistency = \"global\"\ncausal_wait_ms = 0";
    let new = accepted(&endpoint(lines));
    let changed = diff(&old, &new).unwrap();
    assert_eq!(changed.summary(), "live: endpoint[app].causal_wait_ms, endpoint[app].consistency");
    assert_eq!(changed.effective, new);
    assert_eq!(new.endpoints[0].routing.causal_wait, Duration::ZERO);
}

#[test]
fn a_level_waits_for_the_mode_it_belongs_to() {
    let (splits, reads) = ("mode = \"read-write\"", "mode = \"read-only\"");
    for (from, to) in [(splits, reads), (reads, splits)] {
        let (old, new) = (accepted(&endpoint(from)), accepted(&endpoint(to)));
        let changed = diff(&old, &new).unwrap();
        let expected =
            "live: nothing; needs a restart: endpoint[app].mode, endpoint[app].consistency";
        assert_eq!(changed.summary(), expected);
        assert_eq!(changed.effective, old);
        let mode = changed.effective.endpoints[0].mode;
        assert_eq!(mode == EndpointMode::ReadWrite, from == splits);
    }
}

#[test]
fn a_user_may_have_a_level_of_its_own() {
    let file = |level: &str| {
        let lines = format!("[[user]]\nconsistency = \"{level}\"");
        MINIMAL.replacen("[[user]]", &lines, 1)
    };
    let old = accepted(MINIMAL);
    assert_eq!(old.users[0].rules.consistency, None);
    for it in Consistency::ALL {
        let new = accepted(&file(it.name()));
        assert_eq!(new.users[0].rules.consistency, Some(it));
        assert_eq!(new.endpoints, old.endpoints);
        let changed = diff(&old, &new).unwrap();
        assert_eq!(changed.summary(), "live: user[u].consistency");
        assert_eq!(changed.effective, new);
    }
    check(
        &file("weak"),
        expect![[r#"
        line 14: user[0].consistency = "weak": must be "eventual", "session", "instance" or "global"
    "#]],
    );
}
