//! The responder on its own.
//!
//! Purpose: a backend for profiling a proxy by hand.
//! Never: replace a database; it answers everything and remembers nothing.

use std::net::SocketAddr;

use clap::Parser;
use weir_benches::machine;
use weir_benches::responder::Responder;

/// Answers every MySQL query at once.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:3399")]
    address: SocketAddr,
    /// Offer TLS.
    #[arg(long)]
    tls: bool,
    /// Pin to this CPU.
    #[arg(long)]
    cpu: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let _granted = machine::raise_descriptors(machine::DESCRIPTORS);
    options.cpu.map_or(Ok(()), machine::pin)?;
    Responder::bind(options.address, options.tls)?.run()
}
