//! Clients that stop reading.
//!
//! Purpose: they wait for themselves: another session is served at once, and Weir's memory stays
//! within its bounds.

use std::time::{Duration, Instant};

use mysql_async::prelude::{Query, Queryable};
use mysql_async::{QueryResult, TextProtocol};

use crate::fixture::{Database, On, Proxy, config, connect, on_every_server, run};

on_every_server!(
    five_hundred_stalled_clients_do_not_stall_another,
    a_stalled_result_of_gigabytes_takes_no_memory,
);

/// What `worker_buffer_bytes` allows (64 MiB), with buffers and the allocator's slack.
const GROWTH_KIB_MAX: u64 = 112 << 10;
/// A query that takes longer than this was stalled; the machine may be busy.
const ANSWER_MS_MAX: u128 = 2000;

fn five_hundred_stalled_clients_do_not_stall_another(on: On) {
    stall(on, 500, "SELECT REPEAT('x', 1048576)", GROWTH_KIB_MAX);
}

fn a_stalled_result_of_gigabytes_takes_no_memory(on: On) {
    // Far beyond what the kernel's socket buffers hold, so that Weir itself has to stop receiving.
    let query = "SELECT REPEAT('x', 1048576) FROM numbers.n WHERE seq <= 1000";
    stall(on, 8, query, 24 << 10);
}

fn stall(on: On, clients: usize, query: &'static str, growth_kib_max: u64) {
    let mut settings = config(on, Database::shared(on));
    settings.limits.push(("worker_buffer_bytes".to_owned(), 64 << 20));
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let mut active = connect(proxy.weir.address(), None).await;
        let mut idle = Vec::new();
        for _ in 0..clients {
            idle.push(connect(proxy.weir.address(), None).await);
        }
        let before = proxy.weir.resident_kib().unwrap();
        // A result that is held but not polled is not read from its socket.
        let mut stalled: Vec<QueryResult<'static, 'static, TextProtocol>> = Vec::new();
        for conn in idle {
            stalled.push(query.run(conn).await.unwrap());
        }
        let began = Instant::now();
        let mut asked = 0_u32;
        while asked < 100 || began.elapsed() < Duration::from_secs(2) {
            let sent = Instant::now();
            assert_eq!(active.query_first("SELECT 6 * 7").await.unwrap(), Some(42));
            let waited = sent.elapsed().as_millis();
            assert!(waited < ANSWER_MS_MAX, "query {asked} took {waited} ms");
            asked += 1;
        }
        let growth = proxy.weir.resident_kib().unwrap().saturating_sub(before);
        assert!(growth < growth_kib_max, "weir grew by {growth} KiB");
        // They get everything once they read again.
        let mut first = stalled.swap_remove(0);
        let row: mysql_async::Row = first.next().await.unwrap().unwrap();
        assert_eq!(row.get::<Vec<u8>, _>(0).unwrap().len(), 1 << 20);
    });
    proxy.finish();
}
