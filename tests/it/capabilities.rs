//! Each capability, on each side.
//!
//! Purpose: a client is offered what Weir and the primary can do; the primary is asked for what Weir
//! needs and for what the client asked for; nothing is forwarded that was not negotiated.
//! Never: ask what a capability does (that is `real`).

use bytes::BytesMut;
use weir::wire::{Capabilities, LoginRequest};
use weir_tests::{Login, RawClient, Script, Talk, echo};

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
