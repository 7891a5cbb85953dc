//! Each capability, on each side.
//!
//! Purpose: a client is offered what Weir and the primary can do; the primary is asked for what Weir
//! needs and for what the client asked for; nothing is forwarded that was not negotiated.
//! Never: ask what a capability does (that is `real`).

use bytes::BytesMut;
use weir::wire::compress::Algorithm;
use weir::wire::{Capabilities, LoginRequest};
use weir_tests::{Login, RawClient, Script, Talk, echo, trusting_tls};

use crate::fixture::{Setting, account};

/// When a client is offered a capability, and when a backend is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Offered if the primary has it, asked for if the client asks.
    Passed,
    /// Offered if the primary has it, asked for in any case: answers are translated.
    Needed,
    /// Offered in any case, asked for in any case: Weir's own.
    Own,
    /// Never offered, never asked for.
    Never,
    /// Offered if the primary has it, asked for if the packet has what it announces.
    Announces,
}

macro_rules! capabilities {
    ($($test:ident: $name:ident, $rule:ident;)+) => {
        $(#[test] fn $test() { check(Capabilities::$name, Rule::$rule); })+
    };
}

capabilities! {
    capability_found_rows_is_passed: FOUND_ROWS, Passed;
    capability_long_flag_is_needed: LONG_FLAG, Needed;
    capability_connect_with_db_announces_a_schema: CONNECT_WITH_DB, Announces;
    capability_no_schema_is_passed: NO_SCHEMA, Passed;
    capability_odbc_is_passed: ODBC, Passed;
    capability_local_files_is_passed: LOCAL_FILES, Passed;
    capability_ignore_space_is_passed: IGNORE_SPACE, Passed;
    capability_protocol_41_is_own: PROTOCOL_41, Own;
    capability_interactive_is_passed: INTERACTIVE, Passed;
    capability_transactions_is_needed: TRANSACTIONS, Needed;
    capability_secure_connection_is_own: SECURE_CONNECTION, Own;
    capability_multi_statements_is_passed: MULTI_STATEMENTS, Passed;
    capability_multi_results_is_passed: MULTI_RESULTS, Passed;
    capability_ps_multi_results_is_passed: PS_MULTI_RESULTS, Passed;
    capability_plugin_auth_is_own: PLUGIN_AUTH, Own;
    capability_connect_attrs_announces_attributes: CONNECT_ATTRS, Announces;
    capability_can_handle_expired_passwords_is_passed: CAN_HANDLE_EXPIRED_PASSWORDS, Passed;
    capability_session_track_is_needed: SESSION_TRACK, Needed;
    capability_deprecate_eof_is_needed: DEPRECATE_EOF, Needed;
    capability_optional_resultset_metadata_is_passed: OPTIONAL_RESULTSET_METADATA, Passed;
    capability_query_attributes_is_passed: QUERY_ATTRIBUTES, Passed;
    capability_mfa_is_never_offered: MFA, Never;
    capability_extension_is_never_offered: CAPABILITY_EXTENSION, Never;
    capability_ssl_verify_server_cert_is_the_clients: SSL_VERIFY_SERVER_CERT, Never;
    capability_remember_options_is_the_clients: REMEMBER_OPTIONS, Never;
    capability_mariadb_progress_is_passed: MARIADB_PROGRESS, Passed;
    capability_mariadb_com_multi_is_never_offered: MARIADB_COM_MULTI, Never;
    capability_mariadb_stmt_bulk_operations_is_passed: MARIADB_STMT_BULK_OPERATIONS, Passed;
    capability_mariadb_extended_metadata_is_passed: MARIADB_EXTENDED_METADATA, Passed;
    capability_mariadb_cache_metadata_is_passed: MARIADB_CACHE_METADATA, Passed;
    capability_mariadb_bulk_unit_results_is_passed: MARIADB_BULK_UNIT_RESULTS, Passed;
}

/// A server that answers everything with an ERR that says what was negotiated with it.
fn confessing(capabilities: Capabilities) -> Script {
    let confess = |talk: &mut Talk<'_>, command: &[u8]| {
        if command.starts_with(b"\x03SELECT 'still") {
            return echo(talk, command);
        }
        let reply = talk.reply().error(1234, &talk.capabilities.bits().to_string()).bytes();
        talk.send(&reply)
    };
    let mut script = Script::default().responding(confess);
    script.capabilities = capabilities;
    script
}

/// What the backend was asked for by a session of this client.
fn asked(client: &mut RawClient) -> Capabilities {
    client.send_packet(0, &[0x0E]).unwrap();
    Capabilities::from_bits(client.error().unwrap().text.parse().unwrap())
}

fn check(capability: Capabilities, rule: Rule) {
    let is_mariadb = capability.extended() != 0;
    let all = Script::default()
        .capabilities
        .set(Capabilities::LONG_PASSWORD, !is_mariadb)
        .union(Capabilities::NO_SCHEMA)
        .union(Capabilities::ODBC)
        .union(Capabilities::IGNORE_SPACE)
        .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS);
    let login = |wants: bool| -> Login {
        if wants { account().with(capability) } else { account().without(capability) }
    };
    for (driver, has) in [("io_uring", true), ("epoll", false)] {
        // No server can do without these.
        if !has && rule == Rule::Own {
            continue;
        }
        let script = confessing(all.set(capability, has));
        let bed = Setting::default().script(script).start(driver);
        let offered = bed.connect().greeting().unwrap().capabilities;
        let expected = match rule {
            Rule::Passed | Rule::Needed | Rule::Announces => has,
            Rule::Own => true,
            Rule::Never => false,
        };
        assert_eq!(offered.contains(capability), expected, "offered, the primary has it: {has}");
        // LONG_PASSWORD unset is how MariaDB speaks of its extensions.
        assert_eq!(offered.contains(Capabilities::LONG_PASSWORD), !is_mariadb);
        for wants in [true, false] {
            if !wants && rule == Rule::Own {
                continue;
            }
            let mut client = RawClient::log_in(bed.weir.address(), &login(wants)).unwrap();
            let expected = match rule {
                Rule::Passed => has && wants,
                Rule::Needed => has,
                Rule::Own => true,
                Rule::Never | Rule::Announces => false,
            };
            let asked = asked(&mut client);
            assert_eq!(
                asked.contains(capability),
                expected,
                "asked for, the client wants it: {wants}"
            );
            // Both ends agree on what a packet looks like.
            assert!(
                asked.contains(client.capabilities.intersection(capability))
                    || !wants
                    || rule == Rule::Announces
            );
        }
        if rule == Rule::Announces && has {
            let mut client = bed.connect();
            let greeting = client.greeting().unwrap();
            let mut request = LoginRequest::parse(&account().request(&greeting)[4..]).unwrap();
            request.database = Some(b"shop".to_vec());
            request.connect_attrs = Some(b"\x01a\x01b".to_vec());
            let mut out = BytesMut::new();
            request.encode(1, &mut out);
            client.send(&out).unwrap();
            assert_eq!(client.prove("secret").unwrap().1, Ok(()));
            assert!(asked(&mut client).contains(capability));
        }
        bed.finish(&[("backend_faults", 0)]);
    }
}

#[test]
fn capability_long_password_says_that_the_primary_is_mysql() {
    for (driver, is_mysql) in [("io_uring", true), ("epoll", false)] {
        let all = Script::default().capabilities.set(Capabilities::LONG_PASSWORD, is_mysql);
        let bed = Setting::default().script(confessing(all)).start(driver);
        let offered = bed.connect().greeting().unwrap().capabilities;
        assert_eq!(offered.contains(Capabilities::LONG_PASSWORD), is_mysql);
        let asked = asked(&mut RawClient::log_in(bed.weir.address(), &account()).unwrap());
        assert_eq!(asked.contains(Capabilities::LONG_PASSWORD), is_mysql);
        bed.finish(&[("backend_faults", 0)]);
    }
}

#[test]
fn capability_compress_is_each_sides_own() {
    check_compression(Capabilities::COMPRESS, "zlib", Algorithm::Zlib);
}

#[test]
fn capability_zstd_is_each_sides_own() {
    check_compression(Capabilities::ZSTD, "zstd", Algorithm::Zstd { level: 3 });
}

/// A client is offered it as the endpoint says, the primary is asked for it as the backend says if
/// it can: what one side does is nothing to the other.
fn check_compression(capability: Capabilities, name: &str, algorithm: Algorithm) {
    for (driver, offers, has) in
        [("io_uring", true, true), ("epoll", true, false), ("io_uring", false, true)]
    {
        for wished in [true, false] {
            let script = confessing(Script::default().capabilities.set(capability, has));
            let endpoint = if offers { format!("[\"{name}\"]") } else { "[]".to_owned() };
            let bed = Setting::default()
                .script(script)
                .endpoint(&format!("compression = {endpoint}"))
                .backend(&format!("compression = \"{}\"", if wished { name } else { "none" }))
                .start(driver);
            let offered = bed.connect().greeting().unwrap().capabilities;
            assert_eq!(offered.contains(capability), offers, "the primary has it: {has}");
            let plain = Some(account());
            let compressed = offers.then(|| account().with_compression(algorithm));
            for login in [plain, compressed].into_iter().flatten() {
                let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
                assert_eq!(asked(&mut client).contains(capability), has && wished, "{login:?}");
            }
            bed.finish(&[("backend_faults", 0)]);
        }
    }
}

/// As [`check_compression`]; what a backend that has it is asked for is shown by `real`.
#[test]
fn capability_ssl_is_each_sides_own() {
    for (driver, mode, offers) in [("io_uring", "preferred", true), ("epoll", "disabled", false)] {
        for (has, behind) in [(false, "preferred"), (true, "disabled")] {
            let script = confessing(Script::default().capabilities.set(Capabilities::SSL, has));
            let bed = Setting::default()
                .script(script)
                .endpoint(&format!("tls = \"{mode}\""))
                .backend(&format!("tls = \"{behind}\""))
                .start(driver);
            let offered = bed.connect().greeting().unwrap().capabilities;
            assert_eq!(offered.contains(Capabilities::SSL), offers, "the primary has it: {has}");
            let secured = offers.then(|| account().with_tls(&trusting_tls()));
            for login in [Some(account()), secured].into_iter().flatten() {
                let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
                assert!(!asked(&mut client).contains(Capabilities::SSL), "{login:?}");
            }
            bed.finish(&[("backend_faults", 0)]);
        }
    }
}
