//! A worker's thread.
//!
//! Purpose: pin it, make its driver where it is used, and report how it ended.
//! Never: run on control's thread longer than it takes to start.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};

use core_affinity::CoreId;

use crate::base::EndpointId;
use crate::bus::{self, DriverKind, FromWorker, Outbox, Seed, Spawned};
use crate::config::Limits;
use crate::io::{BufferSizes, Driver, DriverOptions, Epoll, Uring, random, thread_number};
use crate::worker::{NonceSource, Parts, Worker};

type Started = io::Result<(Outbox, Option<u32>)>;

/// Starts a worker's thread and waits until it accepts clients.
///
/// # Errors
/// The operating system's, when the thread or its driver cannot be made.
pub fn spawn(seed: Seed) -> io::Result<Spawned> {
    let (ready, started) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("weir-worker-{}", seed.id))
        .spawn(move || start(seed, &ready))?;
    let (outbox, thread_number) =
        started.recv().map_err(|_| io::Error::other("its thread ended"))??;
    Ok(Spawned { outbox, thread_number, thread })
}

fn start(seed: Seed, ready: &SyncSender<Started>) {
    if let Some(id) = seed.cpu
        && !core_affinity::set_for_current(CoreId { id })
    {
        tracing::warn!(worker = seed.id.0, cpu = id, "cannot pin the worker to its CPU");
    }
    let options = driver_options(&seed.config.limits);
    // A ring belongs to the thread that makes it (SINGLE_ISSUER).
    match seed.driver {
        DriverKind::IoUring => run(seed, Uring::new(&options).map_err(io::Error::other), ready),
        DriverKind::Epoll => run(seed, Epoll::new(&options), ready),
    }
}

fn run<D: Driver<Listener = OwnedFd>>(
    seed: Seed,
    driver: io::Result<D>,
    ready: &SyncSender<Started>,
) {
    let (id, reports) = (seed.id, seed.reports.clone());
    let tell = |started: Started| drop(ready.send(started));
    let report = match driver.and_then(|driver| build(seed, driver)) {
        Err(error) => return tell(Err(error)),
        Ok((worker, outbox)) => {
            tell(Ok((outbox, thread_number())));
            match worker.run() {
                Ok(last) => FromWorker::Drained(id, Box::new(last)),
                Err(error) => FromWorker::Failed(id, error),
            }
        }
    };
    // The channel has room for a report of every worker; without a receiver nobody cares.
    drop(reports.try_send(report));
}

fn build<D: Driver<Listener = OwnedFd>>(seed: Seed, driver: D) -> io::Result<(Worker<D>, Outbox)> {
    let (outbox, inbox) = bus::mail(driver.waker());
    let mut worker = Worker::new(Parts {
        id: seed.id,
        driver,
        config: seed.config,
        resources: seed.resources,
        snapshot: seed.snapshot,
        counters: seed.counters,
        inbox,
        nonces: NonceSource::new(Box::new(random)),
    });
    for (listener, index) in seed.listeners.into_iter().zip(0..) {
        worker.listen(EndpointId(index), listener)?;
    }
    Ok((worker, outbox))
}

fn driver_options(limits: &Limits) -> DriverOptions {
    DriverOptions {
        buffers: BufferSizes {
            small_count: limits.receive_buffers,
            small_bytes: saturate(limits.receive_buffer_bytes),
            large_count_max: u16::try_from(limits.large_buffers_max).unwrap_or(u16::MAX),
            large_bytes: saturate(limits.large_buffer_bytes),
        },
        ..DriverOptions::default()
    }
}

/// The configuration's ranges end far below this type's.
fn saturate(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
