//! Peers on real loopback sockets.

use std::collections::HashMap;
use std::io::{self, Read as _, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Harness, Peer, Read};
use crate::base::Address;
use crate::io::sys::RawAddress;
use crate::io::{BufferSizes, Driver, DriverOptions, Epoll, Features, Token, Uring, bind, sys};

/// Makes a driver of one kind.
pub(in crate::io) trait Kind {
    type Driver: Driver<Listener = OwnedFd>;
    fn make(buffers: BufferSizes) -> Self::Driver;
}

macro_rules! ring_kinds {
    ($($(#[$doc:meta])* $name:ident = $allowed:expr;)*) => {
        $(
            $(#[$doc])*
            pub(in crate::io) struct $name;

            impl Kind for $name {
                type Driver = Uring;

                fn make(buffers: BufferSizes) -> Uring {
                    ring(buffers, $allowed)
                }
            }
        )*
    };
}

const ALL: Features = Features::ALL;

ring_kinds! {
    /// What this kernel has.
    Full = ALL;
    NoDefer = Features { defer_taskrun: false, ..ALL };
    NoMultishot = Features { multishot_recv: false, multishot_accept: false, ..ALL };
    NoSkip = Features { skip_success: false, ..ALL };
    Bare = Features {
        single_issuer: false,
        defer_taskrun: false,
        multishot_recv: false,
        multishot_accept: false,
        skip_success: false,
        no_sqarray: false,
        no_iowait: false,
    };
}

fn ring(buffers: BufferSizes, allowed: Features) -> Uring {
    // Few entries, so that the suite also meets full queues.
    let options = DriverOptions { buffers, entries: 16, allowed };
    Uring::new(&options).expect("these tests need io_uring, Linux 5.19 or newer")
}

pub(in crate::io) struct OnEpoll;

impl Kind for OnEpoll {
    type Driver = Epoll;

    fn make(buffers: BufferSizes) -> Epoll {
        let options = DriverOptions { buffers, entries: 16, ..DriverOptions::default() };
        Epoll::new(&options).unwrap()
    }
}

/// Peers are non-blocking sockets of the same thread, of unix or TCP; the standard library's type
/// for the latter serves for both.
pub(in crate::io) struct Real<K: Kind, const UNIX: bool = false> {
    driver: K::Driver,
    other: Option<K::Driver>,
    buffers: BufferSizes,
    peers: Vec<Option<TcpStream>>,
    servers: HashMap<Address, OwnedFd>,
    files: Vec<PathBuf>,
    /// Kept open: they make the black hole.
    hole: Vec<TcpStream>,
    kind: PhantomData<K>,
}

impl<K: Kind, const UNIX: bool> Real<K, UNIX> {
    fn add(&mut self, socket: OwnedFd) -> Peer {
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).unwrap();
        sys::send_at_once(stream.as_fd()).unwrap();
        self.peers.push(Some(stream));
        Peer(self.peers.len() - 1)
    }

    /// A fresh address.
    fn any(&mut self) -> Address {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !UNIX {
            return Address::Tcp("127.0.0.1:0".parse().unwrap());
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-suite-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        self.files.push(path.clone());
        Address::Unix(path.into())
    }

    /// A socket bound to a fresh address.
    fn bound(&mut self) -> (OwnedFd, Address) {
        let address = self.any();
        let raw = RawAddress::try_from(&address).unwrap();
        let socket = sys::socket(&raw).unwrap();
        sys::bind(socket.as_fd(), &raw).unwrap();
        let address = named(&socket).unwrap_or(address);
        (socket, address)
    }

    fn peer(&mut self, peer: Peer) -> &mut TcpStream {
        self.peers[peer.0].as_mut().unwrap()
    }
}

impl<K: Kind, const UNIX: bool> Harness for Real<K, UNIX> {
    type Driver = K::Driver;

    fn new(buffers: BufferSizes) -> Self {
        allow_many_descriptors();
        Self {
            driver: K::make(buffers),
            other: None,
            buffers,
            peers: Vec::new(),
            servers: HashMap::new(),
            files: Vec::new(),
            hole: Vec::new(),
            kind: PhantomData,
        }
    }

    fn driver(&mut self) -> &mut K::Driver {
        &mut self.driver
    }

    fn swap(&mut self) {
        let other = self.other.take().unwrap_or_else(|| K::make(self.buffers));
        self.other = Some(std::mem::replace(&mut self.driver, other));
    }

    fn listen(&mut self, token: Token) -> Address {
        let address = self.any();
        let socket = bind(&address, 0o600, 1, 4096).unwrap().remove(0);
        let address = named(&socket).unwrap_or(address);
        self.driver.listen(socket, token).unwrap();
        address
    }

    fn dial(&mut self, address: &Address) -> Peer {
        let raw = RawAddress::try_from(address).unwrap();
        let socket = sys::socket(&raw).unwrap();
        sys::start_connect(socket.as_fd(), &raw).unwrap();
        self.add(socket)
    }

    fn serve(&mut self) -> Address {
        let (socket, address) = self.bound();
        sys::listen(socket.as_fd(), 128).unwrap();
        self.servers.insert(address.clone(), socket);
        address
    }

    fn accept(&mut self, address: &Address) -> Option<Peer> {
        let socket = sys::accept(self.servers[address].as_fd()).ok()?;
        Some(self.add(socket))
    }

    fn write(&mut self, peer: Peer, bytes: &[u8]) -> usize {
        match self.peer(peer).write(bytes) {
            Ok(count) => count,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                0
            }
        }
    }

    fn read(&mut self, peer: Peer, into: &mut [u8]) -> Read {
        match self.peer(peer).read(into) {
            Ok(0) => Read::Eof,
            Ok(count) => Read::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                Read::Reset
            }
        }
    }

    fn fin(&mut self, peer: Peer) {
        self.peer(peer).shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn reset(&mut self, peer: Peer) {
        let stream = self.peers[peer.0].take().unwrap();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let value = std::ptr::from_ref(&linger).cast();
        let length = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
        let (level, option) = (libc::SOL_SOCKET, libc::SO_LINGER);
        // SAFETY: `value` points at `linger`, which outlives the call, and `length` is its size.
        let set = unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, value, length) };
        assert_eq!(set, 0);
    }

    fn refusing(&mut self) -> Address {
        // Bound but not listening: nobody else can get the port meanwhile.
        let (socket, address) = self.bound();
        self.hole.push(TcpStream::from(socket));
        address
    }

    fn crowded(&mut self) -> (Address, usize) {
        let (socket, address) = self.bound();
        sys::listen(socket.as_fd(), 1).unwrap();
        self.servers.insert(address.clone(), socket);
        let raw = RawAddress::try_from(&address).unwrap();
        loop {
            let filler = sys::socket(&raw).unwrap();
            match sys::start_connect(filler.as_fd(), &raw) {
                Ok(()) => self.hole.push(TcpStream::from(filler)),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                    return (address, self.hole.len());
                }
            }
        }
    }

    fn black_hole(&mut self) -> Address {
        // A full backlog: the kernel drops further attempts.
        let (socket, address) = self.bound();
        sys::listen(socket.as_fd(), 0).unwrap();
        self.hole.push(TcpStream::from(socket));
        for _ in 0..4 {
            let raw = RawAddress::try_from(&address).unwrap();
            let filler = sys::socket(&raw).unwrap();
            sys::start_connect(filler.as_fd(), &raw).unwrap();
            self.hole.push(TcpStream::from(filler));
        }
        address
    }
}

impl<K: Kind, const UNIX: bool> Drop for Real<K, UNIX> {
    fn drop(&mut self) {
        for file in &self.files {
            // Nothing was bound there in some cases.
            drop(std::fs::remove_file(file));
        }
    }
}

/// The TCP address of a bound socket.
fn named(socket: &OwnedFd) -> Option<Address> {
    sys::with_stream(socket.as_fd(), |stream| stream.local_addr().ok()).map(Address::Tcp)
}

/// Raises the soft limit to the hard one: the suite opens thousands of sockets at once.
fn allow_many_descriptors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place to write to.
        let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        assert_eq!(got, 0);
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` outlives the call.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(set, 0);
    });
}
