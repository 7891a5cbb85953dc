//! Who may log in.

use super::*;

#[test]
fn users_may_be_left_to_the_backend() {
    let (before, _) = MINIMAL.split_once("[[user]]").unwrap();
    check(
        before,
        expect![[r#"
            line 13: user: at least one is needed
        "#]],
    );
    let config = accepted(&before.replace("[[endpoint]]", "[[endpoint]]\nauth = \"pass-through\""));
    assert_eq!((config.users.len(), config.endpoints[0].auth), (0, EndpointAuth::PassThrough));
}

#[test]
fn clients_may_come_from_networks_of_their_user() {
    let user = |networks: &str| {
        let config = accepted(&MINIMAL.replace("[[user]]", &format!("[[user]]\n{networks}")));
        let user = config.users[0].clone();
        move |client: &str| user.may_come_from(client.parse().ok(), client == "local")
    };
    let anywhere = user("");
    assert!(anywhere("10.1.1.1") && anywhere("::1") && anywhere("local") && anywhere("unknown"));
    let some = user("networks = [\"10.0.0.0/8\", \"127.0.0.1\", \"fe80::/10\"]");
    assert!(some("10.255.0.1") && some("127.0.0.1") && some("local") && some("fe80::1"));
    assert!(!some("11.0.0.1") && !some("127.0.0.2") && !some("::1") && !some("unknown"));
    assert!(!user("networks = [\"10.0.0.0/8\"]")("local"));
}

#[test]
fn bounds_of_a_user_that_mean_nothing_are_rejected() {
    let lines = "networks = [\"10.0.0.0/33\", \"here\"]\nschemas = []\nconnections_max = -1";
    check_replaced(
        "[[user]]",
        &format!("[[user]]\n{lines}"),
        expect![[r#"
        line 14: user[0].networks = "10.0.0.0/33": must be a list of networks and addresses such as ["10.0.0.0/8", "::1"]
        line 14: user[0].networks = "here": must be a list of networks and addresses such as ["10.0.0.0/8", "::1"]
        line 15: user[0].schemas = []: must be a list of names such as ["shop"]
        line 16: user[0].connections_max = -1: must be between 0 and 67108864
    "#]],
    );
}

#[test]
fn bounds_of_a_user_change_while_weir_runs() {
    let lines = "networks = [\"::1\"]\nschemas = [\"shop\"]\nconnections_max = 1";
    let new = accepted(&MINIMAL.replace("[[user]]", &format!("[[user]]\n{lines}")));
    let changed = diff(&accepted(MINIMAL), &new).unwrap();
    assert_eq!(changed.live, ["user[u].networks", "user[u].schemas", "user[u].connections_max"]);
    assert_eq!((changed.restart.len(), changed.effective.users), (0, new.users));
}
