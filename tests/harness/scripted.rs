//! A MySQL server that does what a test tells it.
//!
//! Purpose: every way a server can answer, refuse, stall, break off or lie, and counts of what
//! reached it.
//! Never: understand SQL.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::SockRef;

use crate::raw::PATIENCE;
use crate::talk::{Next, Script, serve};

/// What has reached a [`ScriptedServer`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: usize,
    /// Logins of the monitor's account that succeeded.
    pub monitors: usize,
    /// Logins of other accounts that succeeded.
    pub logins: usize,
    /// Connections of the monitor's account that are logged in now.
    pub monitors_open: usize,
    /// Connections of other accounts that have asked to be let in and have no answer.
    pub logging_in: usize,
    /// The most there were of these at once.
    pub logging_in_max: usize,
    /// Connections that ended before their login did.
    pub aborted: usize,
    /// Connections of other accounts that are logged in now.
    pub open: usize,
    /// The most there were of these at once.
    pub open_max: usize,
    /// Commands of other accounts.
    pub commands: usize,
    /// Bytes that kernels took of what was sent by [`crate::Talk::send_counted`].
    pub sent: usize,
}

/// A server on a loopback port, one thread per connection. Ends all of them when dropped.
pub struct ScriptedServer {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Connections that keep the queue of a black hole full.
    fillers: Vec<TcpStream>,
}

/// What all threads of a server know.
pub(crate) struct Shared {
    script: Mutex<Script>,
    counts: Mutex<Counts>,
    /// To shut them down at the end; a thread that is done drops its socket by itself.
    streams: Mutex<Vec<Weak<TcpStream>>>,
    stopping: AtomicBool,
    /// Asked to accept no more.
    frozen: AtomicBool,
    /// Accepts no more.
    is_frozen: AtomicBool,
}

impl ScriptedServer {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When it cannot.
    pub fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // 500 sessions may come at once; a queue overflow would cost each a second.
        SockRef::from(&listener).listen(4096)?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            counts: Mutex::default(),
            streams: Mutex::default(),
            stopping: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            is_frozen: AtomicBool::new(false),
        });
        let (accepting, known) = (listener.try_clone()?, shared.clone());
        let acceptor = thread::spawn(move || accept_all(&accepting, &known));
        let address = listener.local_addr()?;
        Ok(Self { address, listener, shared, acceptor: Some(acceptor), fillers: Vec::new() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how connections accepted from now on are treated.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut locked(&self.shared.script));
    }

    /// What has reached it so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *locked(&self.shared.counts)
    }

    /// From now on new connections are not even acknowledged, as behind a firewall that drops
    /// packets; those that exist go on.
    ///
    /// # Errors
    /// When the kernel keeps accepting.
    pub fn become_black_hole(&mut self) -> Result<()> {
        self.shared.frozen.store(true, Ordering::SeqCst);
        // A full queue of connections to accept makes the kernel drop further ones.
        SockRef::from(&self.listener).listen(0)?;
        // The acceptor waits in a call that takes one more; only then does the queue stay full.
        self.fillers.push(TcpStream::connect_timeout(&self.address, PATIENCE)?);
        while !self.shared.is_frozen.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        for _ in 0..16 {
            match TcpStream::connect_timeout(&self.address, Duration::from_millis(200)) {
                Ok(stream) => self.fillers.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
                Err(error) => return Err(error).context("filling the queue"),
            }
        }
        bail!("the kernel accepts although the queue is full")
    }

    /// From now on connecting is refused; connections that exist go on.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn stop_listening(&self) -> Result<()> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        Ok(SockRef::from(&self.listener).shutdown(Shutdown::Both)?)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Failure means that somebody else has closed the socket, which is what is wanted.
        drop(SockRef::from(&self.listener).shutdown(Shutdown::Both));
        for stream in locked(&self.shared.streams).drain(..).filter_map(|weak| weak.upgrade()) {
            drop(stream.shutdown(Shutdown::Both));
        }
        if let Some(acceptor) = self.acceptor.take() {
            // A panic of that thread has been printed.
            drop(acceptor.join());
        }
    }
}

impl std::fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedServer")
            .field("address", &self.address)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether the server is being ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Changes the counts.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut locked(&self.counts));
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        // What is accepted while frozen only made room in the queue; it is kept and not served.
        let Ok((stream, _)) = accepted else { continue };
        if shared.frozen.load(Ordering::SeqCst) {
            shared.is_frozen.store(true, Ordering::SeqCst);
            while !shared.stopping.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            return;
        }
        let stream = Arc::new(stream);
        {
            let mut streams = locked(&shared.streams);
            streams.retain(|weak| weak.strong_count() > 0);
            streams.push(Arc::downgrade(&stream));
        }
        let (shared, script) = (shared.clone(), locked(&shared.script).clone());
        // Hundreds of these threads may wait at once.
        let thread = thread::Builder::new().stack_size(256 << 10);
        let started = thread.spawn(move || {
            shared.count(|counts| counts.connections += 1);
            // A broken connection is what many tests are about.
            if let Ok(Next::Reset) = serve(&stream, &script, &shared) {
                drop(SockRef::from(&*stream).set_linger(Some(Duration::ZERO)));
            }
        });
        drop(started);
    }
}

/// The value; a thread that panicked has left it whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
