//! Opening sealed passwords, on a thread of its own.
//!
//! Purpose: a millisecond of RSA per login is no worker's to spend; what was opened comes back to the
//! worker's desk.
//! Never: have more waiting than allowed, or a thread before the first one comes.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::{Sealed, Seed};
use crate::base::Key;
use crate::bus::Desk;

/// The thread that opens sealed passwords, one after another. It ends with this.
#[derive(Default)]
pub struct Opener {
    waiting: Arc<AtomicUsize>,
    /// `None` until the first one comes.
    jobs: Mutex<Option<Sender<Job>>>,
}

struct Job {
    sealed: Box<Sealed>,
    seed: Seed,
    desk: Arc<Desk>,
    session: Key,
}

/// Why a password is not opened.
#[derive(Debug)]
pub enum NotOpened {
    /// As many wait as may.
    Busy,
    /// There is no thread.
    NoThread(io::Error),
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// Has a session's password opened; it will lie at the session's desk. `waiting_max` bounds those
    /// that wait, over all workers.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub fn open(
        &self,
        sealed: Box<Sealed>,
        seed: Seed,
        desk: &Arc<Desk>,
        session: Key,
        waiting_max: usize,
    ) -> Result<(), NotOpened> {
        let one_more = |waiting: usize| (waiting < waiting_max).then(|| waiting + 1);
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| NotOpened::Busy)?;
        let job = Job { sealed, seed, desk: Arc::clone(desk), session };
        let sent = self.send(job);
        if sent.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        sent.map_err(NotOpened::NoThread)
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match jobs.take() {
            Some(sender) => sender,
            None => self.start()?,
        };
        let sent = sender.send(job).map_err(|_| io::Error::other("its thread ended"));
        if sent.is_ok() {
            *jobs = Some(sender);
        }
        sent
    }

    fn start(&self) -> io::Result<Sender<Job>> {
        let (sender, jobs) = channel();
        let waiting = Arc::clone(&self.waiting);
        let thread = std::thread::Builder::new().name("weir-opener".to_owned());
        thread.spawn(move || work(&jobs, &waiting))?;
        Ok(sender)
    }
}

fn work(jobs: &Receiver<Job>, waiting: &AtomicUsize) {
    for Job { sealed, seed, desk, session } in jobs {
        let password = sealed.open(&seed);
        waiting.fetch_sub(1, Ordering::Relaxed);
        desk.put_opened(session, password);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::auth::{Channel, Claim, ClientAuth, ClientStep, Plugin, RsaKey};
    use crate::bus::Opened;
    use crate::config::{Secret, User};
    use crate::io::{BufferSizes, Driver, Fake, Faults};
    use crate::wire::{Capabilities, LoginRequest};

    const KEY: &str = include_str!("../../testdata/rsa-key.pem");

    fn desk() -> Arc<Desk> {
        let (driver, _) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        Arc::new(Desk::new(driver.waker()))
    }

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    fn seed() -> Seed {
        Seed::new([1; Seed::BYTES])
    }

    /// What a client of Weir's sealed: nothing that opens.
    fn sealed(rsa_key: &Arc<RsaKey>) -> Box<Sealed> {
        let user = User::new("app".into(), Secret::NativeHash([1; 20]));
        let claim = Claim {
            channel: Channel::Sealed(rsa_key.clone()),
            remembered: Some(Arc::new(User::new("app".into(), Secret::NativeHash([1; 20])))),
            ..Claim::of(Some(Arc::new(user)))
        };
        let request = LoginRequest {
            capabilities: Capabilities::PLUGIN_AUTH,
            packet_bytes_max: 0,
            collation: 45,
            user: b"app".to_vec(),
            auth_response: vec![1; 32],
            database: None,
            plugin: Some(b"caching_sha2_password".to_vec()),
            connect_attrs: None,
            zstd_level: 3,
        };
        let mut out = bytes::BytesMut::new();
        let (mut auth, _) =
            ClientAuth::start(&request, claim, [1; 20], Plugin::CachingSha2, 2, &mut out);
        let step = auth.on_packet(&[7; 256], 4, &mut out);
        let ClientStep::Open(sealed) = step else { unreachable!("{step:?}") };
        sealed
    }

    fn wait(desk: &Desk, count: usize) -> Vec<Opened> {
        let (began, mut opened) = (Instant::now(), Vec::new());
        while opened.len() < count && began.elapsed() < Duration::from_secs(30) {
            opened.extend(desk.take_opened());
            std::thread::yield_now();
        }
        opened
    }

    #[test]
    fn what_was_opened_lies_at_the_sessions_own_desk_in_order() {
        let (opener, desks) = (Opener::default(), [desk(), desk()]);
        let rsa_key = Arc::new(RsaKey::from_pem(KEY).unwrap());
        for n in 0..6 {
            let desk = &desks[usize::try_from(n % 2).unwrap()];
            opener.open(sealed(&rsa_key), seed(), desk, key(n), 100).unwrap();
        }
        for (desk, keys) in desks.iter().zip([[0, 2, 4], [1, 3, 5]]) {
            let opened = wait(desk, 3);
            assert_eq!(opened.iter().map(|(key, _)| key.index).collect::<Vec<_>>(), keys);
            assert!(opened.iter().all(|(_, password)| password.is_none()));
        }
        assert_eq!(opener.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_more_wait_than_may() {
        let (opener, desk) = (Opener::default(), desk());
        let rsa_key = Arc::new(RsaKey::from_pem(KEY).unwrap());
        // The thread takes its time for one; nobody waits as long for the others.
        let waiting: Vec<_> = (0..4).map(|_| sealed(&rsa_key)).collect();
        opener.waiting.store(2, Ordering::Relaxed);
        let mut waiting = waiting.into_iter();
        let mut open = |max| {
            let sealed = waiting.next().unwrap();
            opener.open(sealed, seed(), &desk, key(1), max)
        };
        assert!(matches!(open(2), Err(NotOpened::Busy)));
        assert!(matches!(open(1), Err(NotOpened::Busy)), "a bound that became lower");
        assert!(open(3).is_ok());
        assert_eq!(wait(&desk, 1).len(), 1);
        assert_eq!(opener.waiting.load(Ordering::Relaxed), 2);
    }
}
