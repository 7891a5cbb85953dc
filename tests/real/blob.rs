//! Values larger than any buffer.
//!
//! Purpose: 64 MiB in and out, byte for byte, in bounded memory.

use mysql_async::prelude::Queryable;

use crate::fixture::{Database, On, Proxy, connect, database, on_every_server, run};

on_every_server!(a_64_mib_blob_is_identical, a_large_statement_is_identical);

const BLOB_BYTES: usize = 64 << 20;
/// Growth that buffers explain; the value itself would be more.
const GROWTH_KIB_MAX: u64 = 24 << 10;

fn a_64_mib_blob_is_identical(on: On) {
    let server = Database::shared(on);
    let name = database(server, "blob", on);
    let proxy = Proxy::start(on, server);
    let before = proxy.weir.resident_kib().unwrap();
    run(async {
        let value = noise(BLOB_BYTES);
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB)").await.unwrap();
        conn.exec_drop("INSERT INTO t VALUES (1, ?)", (&value,)).await.unwrap();
        // Binary protocol, then text protocol.
        let binary: Vec<u8> =
            conn.exec_first("SELECT b FROM t WHERE id = ?", (1,)).await.unwrap().unwrap();
        assert!(binary == value, "the value differs in the binary protocol");
        drop(binary);
        let text: Vec<u8> = conn.query_first("SELECT b FROM t").await.unwrap().unwrap();
        assert!(text == value, "the value differs in the text protocol");
        conn.query_drop("DROP TABLE t").await.unwrap();
        conn.disconnect().await.unwrap();
    });
    let growth = proxy.weir.resident_kib().unwrap().saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "weir grew by {growth} KiB");
    proxy.finish();
}

/// As text, so that the statement itself is several packets of 16 MiB.
fn a_large_statement_is_identical(on: On) {
    let server = Database::shared(on);
    let name = database(server, "statement", on);
    let proxy = Proxy::start(on, server);
    run(async {
        let value: String =
            noise(40 << 20).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        conn.query_drop("CREATE TABLE t (b LONGTEXT)").await.unwrap();
        conn.query_drop(format!("INSERT INTO t VALUES ('{value}')")).await.unwrap();
        let found: String = conn.query_first("SELECT b FROM t").await.unwrap().unwrap();
        assert!(found == value, "the value differs");
        conn.query_drop("DROP TABLE t").await.unwrap();
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

/// Bytes without a pattern a shifted or repeated piece could hide in (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
