//! What is written reads back, for every packet type and any contents.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::wire::{
    AuthMoreData, AuthSwitch, Capabilities, ChangeUser, Command, EofPacket, ErrPacket, Greeting,
    LoginRequest, OkPacket, PrepareOk, Status, Tracker, ZSTD_LEVEL_DEFAULT, encode_eof,
    put_lenenc_bytes, put_lenenc_int, statement_id,
};

/// The payload of the one frame that `encode` writes; its sequence id must be 9.
fn payload(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    let length = u32::from_le_bytes([out[0], out[1], out[2], 0]) as usize;
    assert_eq!((out.len(), out[3]), (length + 4, 9));
    out[4..].to_vec()
}

/// A name without NUL, which may be empty.
fn name() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1_u8.., 0..40)
}

fn said_name() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(1_u8.., 1..40))
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    any::<u64>().prop_map(|bits| {
        let set = Capabilities::from_bits(bits)
            .union(Capabilities::PROTOCOL_41)
            .union(Capabilities::SECURE_CONNECTION);
        Capabilities::from_halves(set.base(), set.extended())
    })
}

fn attributes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let pairs = proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4);
    proptest::option::of(pairs.prop_map(|pairs| {
        let mut out = BytesMut::new();
        for (name, value) in pairs {
            put_lenenc_bytes(&mut out, &name);
            put_lenenc_bytes(&mut out, &value);
        }
        out.to_vec()
    }))
}

proptest! {
    #[test]
    fn greeting(
        (version, plugin) in (name(), name()),
        (connection_id, nonce) in (any::<u32>(), any::<[u8; 20]>()),
        capabilities in capabilities(),
        (collation, status) in (any::<u8>(), any::<u16>()),
    ) {
        let capabilities = capabilities.set(Capabilities::PLUGIN_AUTH, !plugin.is_empty());
        let status = Status(status);
        let packet =
            Greeting { version, connection_id, nonce, capabilities, collation, status, plugin };
        let bytes = payload(|out| packet.encode(9, out));
        prop_assert_eq!(Greeting::parse(&bytes), Ok(packet));
    }

    #[test]
    fn login(
        capabilities in capabilities(),
        (packet_bytes_max, collation) in (any::<u32>(), any::<u8>()),
        (user, database, plugin) in (name(), said_name(), said_name()),
        auth_response in proptest::collection::vec(any::<u8>(), 0..600),
        (connect_attrs, zstd_level) in (attributes(), 1u8..=22),
    ) {
        let long = auth_response.len() > 250;
        let capabilities = capabilities
            .set(Capabilities::CONNECT_WITH_DB, database.is_some())
            .set(Capabilities::PLUGIN_AUTH, plugin.is_some())
            .set(Capabilities::CONNECT_ATTRS, connect_attrs.is_some())
            .set(Capabilities::PLUGIN_AUTH_LENENC, long);
        let zstd = capabilities.contains(Capabilities::ZSTD);
        let packet = LoginRequest {
            capabilities, packet_bytes_max, collation, user, auth_response, database, plugin,
            connect_attrs,
            zstd_level: if zstd { zstd_level } else { ZSTD_LEVEL_DEFAULT },
        };
        let bytes = payload(|out| packet.encode(9, out));
        prop_assert_eq!(LoginRequest::parse(&bytes), Ok(packet));
    }

    #[test]
    fn change_user(
        (user, database, plugin) in (name(), said_name(), said_name()),
        (collation, attrs) in (any::<u16>(), attributes()),
    ) {
        let capabilities = Capabilities::SECURE_CONNECTION
            .set(Capabilities::PLUGIN_AUTH, plugin.is_some())
            .set(Capabilities::CONNECT_ATTRS, attrs.is_some());
        let packet = ChangeUser { user, database, collation, plugin, connect_attrs: attrs };
        let mut out = BytesMut::new();
        packet.encode(capabilities, &mut out);
        prop_assert_eq!(out[3], 0);
        prop_assert_eq!(ChangeUser::parse(&out[4..], capabilities), Ok(packet));
    }

    #[test]
    fn auth_packets(plugin in name(), data in any::<Vec<u8>>()) {
        let packet = AuthSwitch { plugin: &plugin, data: &data };
        let bytes = payload(|out| packet.encode(9, out));
        prop_assert_eq!(AuthSwitch::parse(&bytes), Ok(packet));
        let packet = AuthMoreData { data: &data };
        let bytes = payload(|out| packet.encode(9, out));
        prop_assert_eq!(AuthMoreData::parse(&bytes), Ok(packet));
    }

    #[test]
    fn ok(
        header in prop_oneof![Just(OkPacket::OK), Just(OkPacket::END)],
        (affected_rows, last_insert_id) in (any::<u64>(), any::<u64>()),
        (status, warnings) in (any::<u16>(), any::<u16>()),
        (info, trackers) in (any::<Vec<u8>>(), any::<Vec<u8>>()),
        tracked in any::<bool>(),
    ) {
        let capabilities = Capabilities::NONE.set(Capabilities::SESSION_TRACK, tracked);
        let packet = OkPacket {
            header, affected_rows, last_insert_id, status: Status(status), warnings,
            info: &info, trackers: &trackers,
        };
        let bytes = payload(|out| packet.encode(capabilities, 9, out));
        let trackers: &[u8] = if tracked { &trackers } else { &[] };
        let status = packet.status.without(Status::SESSION_STATE_CHANGED);
        let status =
            if trackers.is_empty() { status } else { status.with(Status::SESSION_STATE_CHANGED) };
        let expected = OkPacket { status, trackers, ..packet };
        prop_assert_eq!(OkPacket::parse(&bytes, capabilities), Ok(expected));
    }

    #[test]
    fn eof_err_prepare(
        (status, warnings, code) in (any::<u16>(), any::<u16>(), any::<u16>()),
        (sqlstate, message) in (any::<[u8; 5]>(), any::<Vec<u8>>()),
        (statement_id, columns, params) in (any::<u32>(), any::<u16>(), any::<u16>()),
    ) {
        let status = Status(status);
        let bytes = payload(|out| encode_eof(status, warnings, 9, out));
        prop_assert_eq!(EofPacket::parse(&bytes), Ok(EofPacket { warnings, status }));
        let packet = ErrPacket { code, sqlstate, message: &message };
        let bytes = payload(|out| packet.encode(9, out));
        prop_assert_eq!(ErrPacket::parse(&bytes), Ok(packet));
        let packet = PrepareOk { statement_id, columns, params, warnings };
        let bytes = payload(|out| packet.encode(9, out));
        prop_assert_eq!(PrepareOk::parse(&bytes), Ok(packet));
    }

    #[test]
    fn trackers(entries in proptest::collection::vec((0_u8..9, name(), name()), 0..6)) {
        let mut bytes = BytesMut::new();
        for (kind, name, value) in &entries {
            let mut data = BytesMut::new();
            match kind {
                0 => {
                    put_lenenc_bytes(&mut data, name);
                    put_lenenc_bytes(&mut data, value);
                }
                3 => {
                    put_lenenc_int(&mut data, 0);
                    put_lenenc_bytes(&mut data, value);
                }
                1 | 4 | 5 => put_lenenc_bytes(&mut data, value),
                _ => data.extend_from_slice(value),
            }
            bytes.extend_from_slice(&[*kind]);
            put_lenenc_bytes(&mut bytes, &data);
        }
        let ok = OkPacket {
            header: 0, affected_rows: 0, last_insert_id: 0, status: Status::AUTOCOMMIT,
            warnings: 0, info: b"", trackers: &bytes,
        };
        let expected: Vec<_> = entries.iter().map(|(kind, name, value)| Ok(match kind {
            0 => Tracker::SystemVariable { name, value },
            1 => Tracker::Schema(value),
            2 => Tracker::StateChange(value),
            3 => Tracker::Gtids(value),
            4 => Tracker::TransactionCharacteristics(value),
            5 => Tracker::TransactionState(value),
            kind => Tracker::Unknown { kind: *kind, data: value },
        })).collect();
        prop_assert_eq!(ok.trackers().collect::<Vec<_>>(), expected);
        // Cut anywhere, the walk ends: in an error, or early.
        for cut in 0..bytes.len() {
            let ok = OkPacket { trackers: &bytes[..cut], ..ok };
            let walked: Vec<_> = ok.trackers().collect();
            let good = walked.iter().take_while(|item| item.is_ok()).count();
            prop_assert!(good + 1 >= walked.len() && good <= entries.len());
        }
    }

    #[test]
    fn statement_ids(id in any::<u32>(), code in any::<u8>(), tail in any::<Vec<u8>>()) {
        let bytes = [&[code][..], &id.to_le_bytes(), &tail].concat();
        let has_one = Command::from_byte(code)
            .is_some_and(|c| c.name().starts_with("COM_STMT_") && c != Command::StmtPrepare);
        prop_assert_eq!(statement_id(&bytes), has_one.then_some(id));
        prop_assert_eq!(statement_id(&bytes[..4]), None);
    }
}
