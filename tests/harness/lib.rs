//! Servers, clients and fixtures shared by the test binaries, the demo and the benchmarks.
//!
//! Purpose: real servers, a real Weir and real clients in a few hundred milliseconds, in folders
//! of their own and on loopback only.
//! Never: touch a server it did not start, read the machine's own configuration files, or leave a
//! process behind (owned ones die with the process that started them, detached ones have pid files).

mod certificates;
mod client;
mod drivers;
mod flavour;
mod folder;
mod http;
mod interval_log;
mod layers;
mod password;
mod paths;
mod ports;
mod process;
mod prometheus;
mod raw;
mod replication;
mod replies;
mod scripted;
mod server;
mod sysbench;
mod talk;
mod template;
mod weir;

pub use certificates::TestCertificates;
pub use client::Client;
pub use drivers::Driver;
pub use flavour::{Flavour, Program, mysql_home, unpacked_servers};
pub use folder::{RunFolder, is_recorded_running, remove_stopped};
pub use http::{HttpAnswer, http, http_get};
pub use interval_log::read_interval_log;
pub use layers::{trusting_tls, trusting_tls_as};
pub use paths::{profile_folder, target_dir, workspace_root};
pub use ports::free_port;
pub use process::{Lifetime, Process, Spec, cpu_time, descriptors, resident_kib, stop_recorded};
pub use prometheus::{Metrics, Series};
pub use raw::{End, Login, PATIENCE, RawClient, ServerError};
pub use replication::{REPLICATION_USER, Topology, follow};
pub use replies::Packets;
pub use scripted::{Counts, ScriptedServer};
pub use server::{Server, ServerOptions};
pub use sysbench::{PsMode, Report, Sysbench};
pub use talk::{Admit, Greet, MONITOR, Next, Responder, Script, Talk, echo};
pub use weir::{Upstream, Weir, WeirConfig, build_weir, weir_binary};
