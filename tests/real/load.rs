//! Sysbench's usual load.
//!
//! Purpose: many sessions at once without a single error, with prepared statements and without.

use std::env;
use std::sync::Mutex;

use weir_tests::{PsMode, Sysbench};

use crate::fixture::{Database, On, Proxy, database, on_every_server};

on_every_server!(sysbench_with_prepared_statements, sysbench_with_text);

/// Four of these at once would measure the machine's patience.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn sysbench_with_prepared_statements(on: On) {
    sysbench(on, "bench_prepared", PsMode::Auto);
}

fn sysbench_with_text(on: On) {
    sysbench(on, "bench_text", PsMode::Disable);
}

fn sysbench(on: On, test: &str, ps_mode: PsMode) {
    let _turn = ONE_AT_A_TIME.lock();
    let server = Database::shared(on);
    let name = database(server, test, on);
    let proxy = Proxy::start(on, server);
    let mut sysbench = Sysbench::read_write(proxy.client(), &name);
    sysbench.ps_mode = ps_mode;
    sysbench.threads = 64;
    sysbench.seconds = seconds();
    sysbench.prepare().unwrap();
    let deadlocks = server.sql(DEADLOCKS).unwrap();
    let report = sysbench.run().unwrap();
    assert!(report.transactions > 0);
    assert_eq!(report.reconnects, 0, "{report:?}");
    // The only error sysbench retries that a correct proxy passes on.
    let since = number(&server.sql(DEADLOCKS).unwrap()) - number(&deadlocks);
    assert!(report.ignored_errors <= since, "{report:?}, but {since} deadlocks");
    sysbench.cleanup().unwrap();
    proxy.finish();
}

const DEADLOCKS: &str =
    "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'";

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap()
}

/// A few seconds in CI; `WEIR_SYSBENCH_SECONDS` makes it longer.
fn seconds() -> u32 {
    env::var("WEIR_SYSBENCH_SECONDS").map_or(4, |text| text.parse().unwrap())
}
