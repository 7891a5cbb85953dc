//! Peers on real loopback sockets.

use std::collections::HashMap;
use std::io::{self, Read as _, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Once;

use super::{Harness, Peer, Read};
use crate::io::{
    BufferSizes, Driver, DriverOptions, Epoll, Features, Token, Uring, bind_reuseport, sys,
};

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

/// Peers are non-blocking sockets of the same thread.
pub(in crate::io) struct Real<K: Kind> {
    driver: K::Driver,
    peers: Vec<Option<TcpStream>>,
    servers: HashMap<SocketAddr, TcpListener>,
    /// Kept open: they make the black hole.
    hole: Vec<TcpStream>,
    kind: PhantomData<K>,
}

impl<K: Kind> Real<K> {
    fn add(&mut self, stream: TcpStream) -> Peer {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        self.peers.push(Some(stream));
        Peer(self.peers.len() - 1)
    }

    fn peer(&mut self, peer: Peer) -> &mut TcpStream {
        self.peers[peer.0].as_mut().unwrap()
    }
}

impl<K: Kind> Harness for Real<K> {
    type Driver = K::Driver;

    fn new(buffers: BufferSizes) -> Self {
        allow_many_descriptors();
        Self {
            driver: K::make(buffers),
            peers: Vec::new(),
            servers: HashMap::new(),
            hole: Vec::new(),
            kind: PhantomData,
        }
    }

    fn driver(&mut self) -> &mut K::Driver {
        &mut self.driver
    }

    fn listen(&mut self, token: Token) -> SocketAddr {
        let socket = bind_reuseport(any(), 1, 4096).unwrap().remove(0);
        let address = sys::with_stream(socket.as_fd(), TcpStream::local_addr).unwrap();
        self.driver.listen(socket, token).unwrap();
        address
    }

    fn dial(&mut self, address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).unwrap();
        self.add(stream)
    }

    fn serve(&mut self) -> SocketAddr {
        let listener = TcpListener::bind(any()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        self.servers.insert(address, listener);
        address
    }

    fn accept(&mut self, address: SocketAddr) -> Option<Peer> {
        let (stream, _) = self.servers[&address].accept().ok()?;
        Some(self.add(stream))
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

    fn refusing(&mut self) -> SocketAddr {
        // Bound but not listening: nobody else can get the port meanwhile.
        let socket = sys::socket(any()).unwrap();
        sys::bind(socket.as_fd(), any()).unwrap();
        let address = sys::with_stream(socket.as_fd(), TcpStream::local_addr).unwrap();
        self.hole.push(TcpStream::from(socket));
        address
    }

    fn black_hole(&mut self) -> SocketAddr {
        // A full backlog: the kernel drops further attempts.
        let socket = sys::socket(any()).unwrap();
        sys::bind(socket.as_fd(), any()).unwrap();
        sys::listen(socket.as_fd(), 0).unwrap();
        let address = sys::with_stream(socket.as_fd(), TcpStream::local_addr).unwrap();
        self.hole.push(TcpStream::from(socket));
        for _ in 0..4 {
            let filler = sys::socket(any()).unwrap();
            sys::start_connect(filler.as_fd(), address).unwrap();
            self.hole.push(TcpStream::from(filler));
        }
        address
    }
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
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
