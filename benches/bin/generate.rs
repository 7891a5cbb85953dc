//! The generator on its own.
//!
//! Purpose: load for profiling a proxy by hand.
//! Never: measure the proxy itself; `bench` does.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use weir_benches::answers::Encoding;
use weir_benches::client::{Script, Value};
use weir_benches::generator::{Drive, Fleet};
use weir_benches::login::{Account, Profile};
use weir_benches::machine;
use weir_benches::pace::Pace;
use weir_benches::tls::Security;

/// Point selects from many clients.
#[derive(Parser)]
struct Options {
    /// The server or proxy.
    address: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Queries per second over all clients; as many as possible if left out.
    #[arg(long)]
    rate: Option<u32>,
    /// Prepared instead of text.
    #[arg(long)]
    prepared: bool,
    /// Bytes of the value asked from the responder; 120-byte replies if left out.
    #[arg(long, conflicts_with = "rows")]
    size: Option<usize>,
    /// Ask a database for rows 1 to this of `sbtest1` instead.
    #[arg(long)]
    rows: Option<u32>,
    /// Capabilities of the clients.
    #[arg(long, value_enum, default_value_t = Capabilities::Modern)]
    profile: Capabilities,
    /// Measured seconds, after one second of load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Account.
    #[arg(long, default_value = "bench")]
    user: String,
    /// Its password.
    #[arg(long, default_value = "bench")]
    password: String,
    /// Default database.
    #[arg(long)]
    database: Option<String>,
    /// Encrypt.
    #[arg(long)]
    tls: bool,
    /// Every query on a connection of its own.
    #[arg(long)]
    reconnect: bool,
    /// Pin to this CPU.
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Capabilities {
    /// DEPRECATE_EOF and SESSION_TRACK.
    Modern,
    /// Neither.
    Classic,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let _granted = machine::raise_descriptors(machine::DESCRIPTORS);
    options.cpu.map_or(Ok(()), machine::pin)?;
    let account =
        Account { user: options.user, password: options.password, database: options.database };
    let profile = match options.profile {
        Capabilities::Modern => Profile::Modern,
        Capabilities::Classic => Profile::Classic,
    };
    let encoding = if options.prepared { Encoding::Binary } else { Encoding::Text };
    let value = match (options.rows, options.size) {
        (Some(rows), _) => Value::RowOf(rows),
        (None, Some(size)) => Value::Bytes(size),
        (None, None) => Value::Small,
    };
    let security = if options.tls { Security::Resumed } else { Security::Plain };
    let script = Script::new(account, profile, encoding, value)
        .reconnecting(options.reconnect)
        .secured(security)?;
    let mut fleet = Fleet::connect(options.address, script, options.clients)?;
    let drive = Drive {
        pace: options.rate.map_or(Pace::Saturated, Pace::PerSecond),
        warmup: Duration::from_secs(1),
        measure: Duration::from_secs(options.seconds),
    };
    let tally = fleet.drive(drive, &mut |_| {})?;
    let us = |quantile| Duration::from_nanos(tally.latency_ns.value_at_quantile(quantile));
    writeln!(
        std::io::stdout().lock(),
        "{} queries in {:.2?}, p50 {:.1?}, p99 {:.1?}, p999 {:.1?}, {} errors, {} overdue",
        tally.queries,
        tally.elapsed,
        us(0.5),
        us(0.99),
        us(0.999),
        tally.errors,
        tally.overdue,
    )?;
    tally.first_error.map_or(Ok(()), |error| Err(anyhow::Error::msg(error)))
}
