//! What a user may not do although its backend would let it.
//!
//! Purpose: networks, schemas and numbers of sessions, refused in the server's own words.

use weir_tests::{Login, RawClient, ServerError};

use crate::fixture::{Bed, Setting, account, wait};

on_both_drivers!(
    who_comes_from_elsewhere_has_the_wrong_password,
    sessions_of_a_user_are_bounded_over_all_workers,
    a_change_of_account_needs_a_place_too,
    schemas_that_are_not_to_be_entered,
);

const USERS: &str = "\
[[user]]
name = \"far\"
password = \"secret\"
networks = [\"10.0.0.0/8\", \"::1\"]
[[user]]
name = \"near\"
password = \"secret\"
networks = [\"127.0.0.0/8\"]
[[user]]
name = \"few\"
password = \"secret\"
connections_max = 3
[[user]]
name = \"shop\"
password = \"secret\"
schemas = [\"shop\", \"stock\"]
";

fn user(name: &str) -> Login {
    Login { user: name.to_owned(), ..account() }
}

/// The error of a login that is refused.
fn refused(bed: &Bed, login: &Login) -> ServerError {
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.send(&login.request(&greeting)).unwrap();
    let error = client.error().unwrap();
    client.closed().unwrap();
    error
}

fn in_server_words(name: &str) -> (u16, String) {
    let text = format!(
        "User '{name}' has exceeded the 'max_user_connections' resource (current value: 3)"
    );
    (1226, text)
}

fn who_comes_from_elsewhere_has_the_wrong_password(driver: &str) {
    let bed = Setting::default().more(USERS).start(driver);
    for (name, password) in [("far", "secret"), ("far", "wrong"), ("near", "wrong")] {
        let error = refused(&bed, &Login { password: password.to_owned(), ..user(name) });
        let text = format!("Access denied for user '{name}'@'127.0.0.1' (using password: YES)");
        assert_eq!((error.code, error.text), (1045, text));
    }
    let mut client = RawClient::log_in(bed.weir.address(), &user("near")).unwrap();
    client.echo("SELECT 1").unwrap();
    // Not by a change of account either; MySQL ends the connection.
    let (_, changed) = client.change_user("far", "secret", None).unwrap();
    assert_eq!(changed.unwrap_err().code, 1045);
    drop(client);
    bed.finish(&[("logins_ok", 2), ("logins_denied", 3)]);
}

fn sessions_of_a_user_are_bounded_over_all_workers(driver: &str) {
    let mut setting = Setting::default().more(USERS);
    setting.workers = 3;
    let bed = setting.start(driver);
    let log_in = || RawClient::log_in(bed.weir.address(), &user("few"));
    let mut clients: Vec<RawClient> = (0..3).map(|_| log_in().unwrap()).collect();
    for _ in 0..6 {
        let error = refused(&bed, &user("few"));
        assert_eq!((error.code, error.text), in_server_words("few"));
    }
    // Others have places of their own.
    bed.client().echo("SELECT 1").unwrap();
    clients.pop();
    wait("room", || log_in().is_ok());
    clients.iter_mut().for_each(|client| client.echo("SELECT 2").unwrap());
    drop(clients);
    wait("all places", || (0..3).map(|_| log_in()).collect::<Result<Vec<_>, _>>().is_ok());
    bed.finish(&[("bugs", 0)]);
}

fn a_change_of_account_needs_a_place_too(driver: &str) {
    let bed = Setting::default().more(USERS).start(driver);
    let mut clients: Vec<RawClient> = (0..4).map(|_| bed.client()).collect();
    for client in &mut clients[..3] {
        assert_eq!(client.change_user("few", "secret", None).unwrap().1, Ok(()));
        // To itself it needs none.
        assert_eq!(client.change_user("few", "secret", None).unwrap().1, Ok(()));
        client.echo("SELECT 1").unwrap();
    }
    let error = clients[3].change_user("few", "secret", None).unwrap().1.unwrap_err();
    assert_eq!((error.code, error.text), in_server_words("few"));
    clients[3].closed().unwrap();
    // Whose session became another's has left its place.
    assert_eq!(clients[0].change_user("app", "secret", None).unwrap().1, Ok(()));
    RawClient::log_in(bed.weir.address(), &user("few")).unwrap().echo("SELECT 2").unwrap();
    drop(clients);
    bed.finish(&[("limit_faults", 1)]);
}

fn schemas_that_are_not_to_be_entered(driver: &str) {
    let bed = Setting::default().more(USERS).start(driver);
    let denied = "Access denied for user 'shop'@'127.0.0.1' to database 'other'";
    let begin_in = |name: &str| Login { database: Some(name.to_owned()), ..user("shop") };
    let error = refused(&bed, &begin_in("other"));
    assert_eq!((error.code, error.text.as_str()), (1044, denied));
    // The password first.
    let error = refused(&bed, &Login { password: "wrong".to_owned(), ..begin_in("other") });
    assert_eq!(error.code, 1045);

    let mut client = RawClient::log_in(bed.weir.address(), &begin_in("shop")).unwrap();
    client.echo("SELECT 1").unwrap();
    for allowed in ["USE stock", "use `shop`;", "SELECT 'USE other'", "SELECT * FROM other.t"] {
        client.echo(allowed).unwrap();
    }
    let refused_by = |client: &mut RawClient, command: &[u8]| {
        client.send_packet(0, command).unwrap();
        let error = client.error().unwrap();
        assert_eq!((error.seq, error.code, error.text.as_str()), (1, 1044, denied), "{command:?}");
    };
    for command in [
        &b"\x02other"[..],
        b"\x03USE other",
        b"\x03/* x */ use `other`",
        b"\x03SELECT 1; USE other",
        b"\x16USE other",
    ] {
        refused_by(&mut client, command);
    }
    // In order among others.
    let packet = |sql: &str| RawClient::query_packet(sql).to_vec();
    let all = [packet("SELECT 1"), packet("USE other"), packet("SELECT 2")].concat();
    client.send(&all).unwrap();
    let first = client.echoed("SELECT 1");
    client.expect(&first).unwrap();
    assert_eq!(client.error().unwrap().code, 1044);
    let last = client.echoed("SELECT 2");
    client.expect(&last).unwrap();
    // Who becomes another user is bound by that one's bounds.
    let (_, changed) = client.change_user("app", "secret", Some("other")).unwrap();
    assert_eq!(changed, Ok(()));
    client.echo("USE other").unwrap();
    let (_, changed) = client.change_user("shop", "secret", Some("other")).unwrap();
    assert_eq!(changed.unwrap_err().code, 1044);
    drop(client);
    bed.finish(&[("bugs", 0)]);
}
