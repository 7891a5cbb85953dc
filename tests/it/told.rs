//! Clients that are asked for their password itself.
//!
//! Purpose: a password that Weir has only a hash of reaches a backend that wants it, once it was told
//! over TLS or sealed, and is not asked for again.

use weir_tests::{Admit, Login, RawClient, Script, ServerError, trusting_tls};

use crate::fixture::{Bed, Setting, account, check_counters, wait};
use crate::pooling::{RESET, answer};

on_both_drivers!(
    a_hashed_users_password_is_told_once,
    who_changes_its_account_tells_it_too,
    a_wrong_password_is_denied,
    sealed_passwords_wait_up_to_a_bound,
    what_a_backend_refuses_is_forgotten,
    strangers_are_the_backends_to_judge,
    strangers_are_bounded_and_expire,
    a_stranger_gets_no_connection_of_another_client,
    a_stranger_of_an_odd_plugin_does_not_seem_to_exist,
);

const SHA2: &str = "caching_sha2_password";

/// `SHA256(SHA256("secret"))` and `SHA1(SHA1("secret"))`.
const HASHED: &str = "\
[[user]]
name = \"sha2\"
password_sha2 = \"3881219d087dd9c634373fd33dfa33a2cb6bfc6c520b64b8bb60ef2ceb534ae7\"
[[user]]
name = \"native\"
password_native = \"*14E65567ABDB5135D0CFD9A70B3032C179A49EE7\"
";

fn setting() -> Setting {
    let mut setting = Setting::default().more(HASHED);
    setting.script.plugin = SHA2;
    setting
}

fn hashed(user: &str) -> Login {
    Login { plugin: SHA2, ..Login::new(user, "secret") }
}

/// How many packets it took to log in, and the outcome.
fn prove(bed: &Bed, login: &Login) -> (RawClient, u32, Result<(), ServerError>) {
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.capabilities = login.capabilities.intersection(greeting.capabilities);
    if let Some(tls) = &login.tls {
        client.start_tls(tls, &login.ssl_request(&greeting)).unwrap();
    }
    client.send(&login.request(&greeting)).unwrap();
    let (packets, outcome) = client.prove(&login.password).unwrap();
    (client, packets, outcome)
}

/// Users whose password is remembered: none, one, or more.
fn remembered(bed: &Bed) -> u8 {
    match bed.weir.metrics().unwrap().value("weir_remembered_users", &[]).unwrap() {
        ..0.5 => 0,
        0.5..1.5 => 1,
        _ => 2,
    }
}

fn a_hashed_users_password_is_told_once(driver: &str) {
    for (user, tls, packets) in [("sha2", false, 3), ("sha2", true, 2), ("native", true, 2)] {
        let bed = setting().start(driver);
        // The backend has not cached it and wants it too.
        bed.server.change(|script| script.admit = Admit::FullExchange);
        let login = hashed(user);
        let login = if tls { login.with_tls(&trusting_tls()) } else { login };
        let (mut client, asked, outcome) = prove(&bed, &login);
        assert_eq!((asked, outcome), (packets, Ok(())), "{user} {tls}");
        client.echo("SELECT 1").unwrap();
        assert_eq!(remembered(&bed), 1);
        drop(client);
        // 01 03 and OK, on any channel.
        let (mut client, asked, outcome) = prove(&bed, &hashed(user));
        assert_eq!((asked, outcome), (2, Ok(())), "{user} {tls}, again");
        client.echo("SELECT 2").unwrap();
        drop(client);
        let sealed = u64::from(!tls);
        bed.finish(&[("logins_ok", 3), ("sealed_passwords_opened", sealed), ("bugs", 0)]);
    }
}

fn who_changes_its_account_tells_it_too(driver: &str) {
    let bed = setting().start(driver);
    let mut client = bed.client();
    bed.server.change(|script| script.admit = Admit::FullExchange);
    let (_, outcome) = client.change_user("sha2", "secret", None).unwrap();
    assert_eq!(outcome, Ok(()));
    client.echo("SELECT 1").unwrap();
    drop(client);
    bed.finish(&[("logins_ok", 2), ("sealed_passwords_opened", 1)]);
}

fn a_wrong_password_is_denied(driver: &str) {
    let bed = setting().start(driver);
    for (user, tls) in [("sha2", true), ("sha2", false), ("native", true), ("nobody", true)] {
        let login = Login { password: "wrong".to_owned(), ..hashed(user) };
        let login = if tls { login.with_tls(&trusting_tls()) } else { login };
        let (mut client, _, outcome) = prove(&bed, &login);
        let error = outcome.unwrap_err();
        let text = format!("Access denied for user '{user}'@'127.0.0.1' (using password: YES)");
        assert_eq!((error.code, error.text), (1045, text), "{user} {tls}");
        client.closed().unwrap();
    }
    assert_eq!(bed.server.counts().logins, 1, "only the witness");
    bed.finish(&[("logins_ok", 1), ("logins_denied", 4)]);
}

fn sealed_passwords_wait_up_to_a_bound(driver: &str) {
    let bed = setting().limit("sealed_passwords_max", 1).start(driver);
    let login = hashed("sha2");
    // Each has asked for the key; then all send what is sealed for it at once.
    let mut clients: Vec<RawClient> = (0..40)
        .map(|_| {
            let mut client = bed.connect();
            let greeting = client.greeting().unwrap();
            client.send(&login.request(&greeting)).unwrap();
            assert_eq!(client.packet().unwrap(), (2, vec![1, 4]));
            client
        })
        .collect();
    for client in &mut clients {
        client.send_packet(3, &[7; 256]).unwrap();
    }
    let codes: Vec<u16> = clients.iter_mut().map(|client| client.error().unwrap().code).collect();
    let refused = codes.iter().filter(|code| **code == 1040).count();
    let denied = codes.iter().filter(|code| **code == 1045).count();
    assert!(refused > 0 && denied > 0 && refused + denied == 40, "{codes:?}");
    drop(clients);
    // There is room again.
    let (client, _, outcome) = prove(&bed, &login);
    assert_eq!(outcome, Ok(()));
    drop(client);
    let (refused, denied) = (refused as u64, denied as u64);
    bed.finish(&[
        ("sealed_passwords_refused", refused),
        ("sealed_passwords_opened", denied + 1),
        ("limit_faults", refused),
    ]);
}

fn what_a_backend_refuses_is_forgotten(driver: &str) {
    let bed = setting().start(driver);
    let login = hashed("sha2").with_tls(&trusting_tls());
    assert_eq!(prove(&bed, &login).2, Ok(()));
    assert_eq!(remembered(&bed), 1);
    bed.server.change(|script| script.admit = Admit::Refuse(1045, "Access denied"));
    let (_, packets, outcome) = prove(&bed, &login);
    assert_eq!((packets, outcome.unwrap_err().code), (2, 1045), "it was not asked");
    assert_eq!(remembered(&bed), 0);
    bed.server.change(|script| script.admit = Admit::Check);
    let (_, packets, outcome) = prove(&bed, &login);
    assert_eq!((packets, outcome), (2, Ok(())));
    bed.finish(&[("logins_ok", 4), ("backend_login_failures", 1)]);
}

fn strangers_are_the_backends_to_judge(driver: &str) {
    for tls in [false, true] {
        let bed = setting().endpoint("auth = \"pass-through\"").start(driver);
        let stranger = |password: &str| {
            let login = Login { password: password.to_owned(), ..hashed("stranger") };
            if tls { login.with_tls(&trusting_tls()) } else { login }
        };
        let asked = if tls { 2 } else { 3 };
        // The listed one is not asked.
        assert_eq!(prove(&bed, &Login { plugin: SHA2, ..account() }).1, 2);
        for (user, password) in [("stranger", "wrong"), ("app", "wrong")] {
            let login = Login { user: user.to_owned(), ..stranger(password) };
            let (_, packets, outcome) = prove(&bed, &login);
            let text = format!("Access denied for user '{user}'@'127.0.0.1' (using password: YES)");
            let error = outcome.unwrap_err();
            assert_eq!((packets, error.code, error.text), (asked, 1045, text));
        }
        assert_eq!(remembered(&bed), 0);
        let (mut client, packets, outcome) = prove(&bed, &stranger("secret"));
        assert_eq!((packets, outcome, remembered(&bed)), (asked, Ok(()), 1));
        client.echo("SELECT 'in'").unwrap();
        assert_eq!(prove(&bed, &stranger("secret")).1, 2, "01 03");
        // Clients of the other plugin are switched.
        let native = Login { plugin: "mysql_native_password", ..stranger("secret") };
        assert_eq!(prove(&bed, &native).2, Ok(()));
        // The password is changed at the server, which greets nobody by the old one any more.
        bed.server.change(|script| script.password = "rotated");
        let (_, packets, outcome) = prove(&bed, &stranger("secret"));
        assert_eq!((packets, outcome.unwrap_err().code, remembered(&bed)), (2, 1045, 0));
        let (_, packets, outcome) = prove(&bed, &stranger("rotated"));
        assert_eq!((packets, outcome, remembered(&bed)), (asked, Ok(()), 1));
        bed.server.change(|script| script.password = "again");
        // The answer is not that of the remembered one, so it is asked for.
        let (_, packets, outcome) = prove(&bed, &stranger("again"));
        assert_eq!((packets, outcome, remembered(&bed)), (asked, Ok(()), 1));
        drop(client);
        bed.finish(&[("bugs", 0)]);
    }
}

fn strangers_are_bounded_and_expire(driver: &str) {
    let bed = setting()
        .endpoint("auth = \"pass-through\"")
        .limit("remembered_users_max", 1)
        .limit("remembered_users_ms", 1_500)
        .start(driver);
    let packets = |user: &str| {
        let (_, packets, outcome) = prove(&bed, &hashed(user).with_tls(&trusting_tls()));
        assert_eq!(outcome, Ok(()));
        packets
    };
    assert_eq!([packets("one"), packets("two")], [2, 2]);
    let evicted = |bed: &Bed| {
        bed.weir.metrics().unwrap().value("weir_remembered_users_evicted_total", &[]).unwrap()
    };
    assert_eq!(remembered(&bed), 1);
    assert!((0.5..1.5).contains(&evicted(&bed)));
    // An expired one is asked again; that can be seen by what is known of it at once.
    std::thread::sleep(std::time::Duration::from_millis(1_600));
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.send(&hashed("two").request(&greeting)).unwrap();
    assert_eq!(client.packet().unwrap(), (2, vec![1, 4]));
    assert_eq!(remembered(&bed), 0);
    drop(client);
    bed.finish(&[("logins_ok", 3)]);
}

/// MySQL asks for plugins by chance where it has no such account.
fn a_stranger_of_an_odd_plugin_does_not_seem_to_exist(driver: &str) {
    let bed = setting().endpoint("auth = \"pass-through\"").start(driver);
    bed.server.change(|script| script.admit = Admit::Switch("sha256_password"));
    let (mut client, _, outcome) = prove(&bed, &hashed("stranger").with_tls(&trusting_tls()));
    let error = outcome.unwrap_err();
    let text = "Access denied for user 'stranger'@'127.0.0.1' (using password: YES)";
    assert_eq!((error.code, error.text.as_str()), (1045, text));
    client.closed().unwrap();
    // Of a listed account the reason is told.
    let (_, _, outcome) = prove(&bed, &Login { plugin: SHA2, ..account() });
    assert!(outcome.unwrap_err().text.contains("sha256_password"));
    bed.finish(&[("logins_denied", 1), ("backend_login_failures", 2)]);
}

/// A connection that was kept is logged in as the user already, which proves nothing of the next one.
fn a_stranger_gets_no_connection_of_another_client(driver: &str) {
    let script = Script { plugin: SHA2, ..Script::default() }.responding(|talk, command| {
        if command == [RESET] {
            talk.send(&talk.reply().ok().bytes())
        } else {
            answer(talk, command)
        }
    });
    let mut setting = Setting::default().script(script).endpoint("auth = \"pass-through\"");
    setting.pool.push(("idle_max", 10));
    let bed = setting.start(driver);
    let log_in = |password: &str| {
        let database = Some("shop".to_owned());
        let password = password.to_owned();
        let login = Login { password, database, ..hashed("stranger") };
        prove(&bed, &login.with_tls(&trusting_tls()))
    };
    let (mut client, _, outcome) = log_in("secret");
    assert_eq!(outcome, Ok(()));
    client.send_packet(0, &[1]).unwrap();
    client.closed().unwrap();
    let idle = |bed: &Bed| bed.weir.metrics().unwrap().value("weir_backend_recycled_total", &[]);
    wait("the connection to be kept", || idle(&bed).unwrap() > 0.5);
    for password in ["wrong", ""] {
        let (_, _, outcome) = log_in(password);
        assert_eq!(outcome.map_err(|error| error.code), Err(1045), "{password}");
    }
    // The remembered password is proof enough.
    assert_eq!(log_in("secret").2, Ok(()));
    let Bed { mut weir, witness, .. } = bed;
    drop(witness);
    weir.stop().unwrap();
    check_counters(&weir, &[("backend_reuses", 1), ("backend_login_failures", 2)]);
}
