//! Which rules hold, in which order, and what they come to.

use super::*;
use crate::config::{Offline, parse, sample};

const DELETE: &str = "DELETE FROM t WHERE a = 1";

fn rules(text: &str) -> Arc<Rules> {
    Rules::renewed(None, &config(text)).unwrap()
}

fn config(text: &str) -> Config {
    parse(&format!("{}\n{text}", sample()), &Offline).unwrap_or_else(|it| panic!("{it:?}"))
}

fn asker() -> Asker {
    Asker {
        user: (*b"app").into(),
        address: Some([10, 1, 2, 3].into()),
        endpoint: EndpointId(0),
        may_route: true,
    }
}

fn statement<'a>(asker: &'a Asker, text: &'a str) -> Statement<'a> {
    Statement {
        asker,
        schema: b"shop",
        text: Some(text.as_bytes()),
        mode: LexMode::unknown(true),
        is_new: true,
        rewrites: true,
        runs: true,
    }
}

/// The decision as text: `to`, steps, end.
fn show(decision: &Decision) -> String {
    let mut words: Vec<String> = decision.to.iter().map(|to| format!("{to:?}")).collect();
    words.extend(decision.steps.iter().map(|step| match step {
        Step::Bucket(rule) => format!("bucket {}", rule.name()),
        Step::Gate(rule) => format!("gate {}", rule.name()),
        Step::Delay(rule, time) => format!("delay {} {time:?}", rule.name()),
        Step::Until(_) => "until".to_owned(),
    }));
    words.extend(decision.ends.iter().map(|ends| match ends {
        Ends::Rejected(rule) => format!("rejected {}", rule.name()),
        Ends::TooLong(rule) => format!("too long {}", rule.name()),
        Ends::Rewritten(text) => format!("rewritten {}", String::from_utf8_lossy(text)),
    }));
    words.extend(decision.timeout.map(|time| format!("timeout {time:?}")));
    words.join(", ")
}

fn decide(rules: &Rules, text: &str) -> String {
    show(&rules.decide(&statement(&asker(), text)))
}

#[test]
fn every_key_that_is_given_has_to_hold() {
    let digest = digest(DELETE.as_bytes(), LexMode::unknown(true), 0).fingerprint;
    let digest = format!("digest = \"{digest:016x}\"");
    for (key, other) in [
        ("user = \"app\"", "user = \"other\""),
        ("schema = \"shop\"", "schema = \"SHOP\""),
        ("network = [\"192.0.2.0/24\", \"10.0.0.0/8\"]", "network = [\"192.0.2.0/24\"]"),
        ("endpoint = \"app\"", "user = \"\""),
        (&digest, "digest = \"0000000000000000\""),
        ("regex = \"(?i)delete\\\\s+from\"", "regex = \"^INSERT\""),
    ] {
        let rule =
            |keys: &str| rules(&format!("[[rule]]\nname = \"it\"\naction = \"reject\"\n{keys}\n"));
        assert_eq!(decide(&rule(key), DELETE), "rejected it", "{key}");
        assert_eq!(decide(&rule(other), DELETE), "", "{other}");
        if !other.starts_with("user") {
            assert_eq!(decide(&rule(&format!("user = \"app\"\n{other}")), DELETE), "", "{other}");
        }
    }
}

#[test]
fn the_first_rule_is_the_one_unless_it_continues() {
    let rules = rules(
        r#"
[[rule]]
name = "slow"
action = "delay"
delay_ms = 5
schema = "shop"
continue = true
[[rule]]
name = "few"
action = "limit"
per_second = 3
concurrent = 2
regex = "DELETE"
continue = true
[[rule]]
name = "away"
action = "route"
to = "replica"
continue = true
[[rule]]
name = "home"
action = "route"
to = "primary"
[[rule]]
name = "never"
action = "reject"
"#,
    );
    assert_eq!(decide(&rules, "SELECT 1"), "Replica, delay slow 5ms");
    let all = "Replica, delay slow 5ms, bucket few, gate few";
    assert_eq!(decide(&rules, DELETE), all);
    let asker = asker();
    let prepared = Statement { runs: false, ..statement(&asker, DELETE) };
    assert_eq!(show(&rules.decide(&prepared)), "Replica", "nothing runs yet");
    let elsewhere = Asker { may_route: false, ..asker.clone() };
    let of_elsewhere = rules.decide(&statement(&elsewhere, "SELECT 1"));
    assert_eq!(show(&of_elsewhere), "delay slow 5ms", "nowhere else to go");
    let counts: Vec<_> = rules.iter().map(|rule| rule.counts()[0]).collect();
    assert_eq!(counts, [3, 1, 4, 4, 0]);
}

#[test]
fn a_statement_that_is_not_known_is_under_rules_without_a_text() {
    let rules = rules(
        r#"
[[rule]]
name = "text"
action = "reject"
regex = ""
[[rule]]
name = "digest"
action = "reject"
digest = "0000000000000001"
[[rule]]
name = "all"
action = "delay"
delay_ms = 1
"#,
    );
    assert_eq!(decide(&rules, ""), "rejected text");
    assert_eq!(decide(&rules, &"x".repeat(RULED_BYTES_MAX)), "rejected text");
    assert_eq!(decide(&rules, &"x".repeat(RULED_BYTES_MAX + 1)), "delay all 1ms");
    let asker = asker();
    let unknown = Statement { text: None, ..statement(&asker, "") };
    assert_eq!(show(&rules.decide(&unknown)), "delay all 1ms");
}

#[test]
fn a_text_is_rewritten_once_and_within_its_bound() {
    let rules = rules(
        r#"
[[rule]]
name = "swap"
action = "rewrite"
regex = '(\w+)=(\w+)'
replace = "$2=$1"
[[rule]]
name = "grow"
action = "rewrite"
regex = "y"
replace = "yyyy"
"#,
    );
    assert_eq!(decide(&rules, "SET a=1, b=2;"), "rewritten SET 1=a, 2=b;");
    assert_eq!(decide(&rules, &"y".repeat(4096)), format!("rewritten {}", "y".repeat(16384)));
    assert_eq!(decide(&rules, &"y".repeat(4097)), "too long grow");
    let asker = asker();
    let again = Statement { rewrites: false, ..statement(&asker, "SET a=1") };
    assert_eq!(show(&rules.decide(&again)), "");
}

#[test]
fn counts_and_bounds_stay_with_a_name() {
    let limit = |name: &str, concurrent| {
        format!("[[rule]]\nname = \"{name}\"\naction = \"limit\"\nconcurrent = {concurrent}\n")
    };
    let before = rules(&limit("few", 1));
    let gate = |rules: &Rules| Arc::clone(rules.iter().next().unwrap().gate());
    let slot = gate(&before).enter().unwrap();
    assert_eq!(decide(&before, DELETE), "gate few");
    let config = config(&format!("{}{}", limit("few", 2), limit("more", 1)));
    let after = Rules::renewed(Some(&before), &config).unwrap();
    assert_eq!(after.iter().map(|it| it.counts()[0]).collect::<Vec<_>>(), [1, 0]);
    let second = gate(&after).enter().unwrap();
    assert!(gate(&after).enter().is_none(), "who was inside is counted");
    drop((slot, second));
    assert_eq!(gate(&before).inside(), 0);
    let none = Rules::renewed(Some(&after), &parse(&sample(), &Offline).unwrap());
    assert!(none.is_none());
    let slots: Vec<_> = (0..3).map(|_| gate(&after).enter()).collect();
    assert!(slots.iter().all(Option::is_some), "a rule that is gone bounds nobody");
}
