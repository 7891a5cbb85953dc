//! Safe names for the system calls that the standard library lacks.
//!
//! Purpose: sockets made and bound as drivers need them, addresses in the kernel's layout.
//! Never: keep state.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::base::Address;
use crate::io::EndReason;

/// A socket address in the kernel's layout.
#[derive(Clone, Copy)]
pub(super) enum RawAddress {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
    Unix(libc::sockaddr_un),
}

impl RawAddress {
    /// Start of the address, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        match self {
            Self::V4(address) => std::ptr::from_ref(address).cast(),
            Self::V6(address) => std::ptr::from_ref(address).cast(),
            Self::Unix(address) => std::ptr::from_ref(address).cast(),
        }
    }

    /// Bytes of the address.
    pub(super) const fn len(&self) -> libc::socklen_t {
        match self {
            Self::V4(_) => socklen::<libc::sockaddr_in>(),
            Self::V6(_) => socklen::<libc::sockaddr_in6>(),
            // The path ends at its NUL.
            Self::Unix(_) => socklen::<libc::sockaddr_un>(),
        }
    }

    /// The address of the file of a unix socket.
    fn of_path(path: &Path) -> io::Result<Self> {
        let mut raw = libc::sockaddr_un { sun_family: FAMILY_UNIX, sun_path: [0; 108] };
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() >= raw.sun_path.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        for (place, byte) in raw.sun_path.iter_mut().zip(bytes) {
            *place = byte.cast_signed();
        }
        Ok(Self::Unix(raw))
    }
}

impl TryFrom<&Address> for RawAddress {
    type Error = io::Error;

    fn try_from(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::from(*address)),
            Address::Unix(path) => Self::of_path(path),
        }
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: FAMILY_V4,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: FAMILY_V6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

/// A stream socket for `address`'s family, non-blocking, closed on exec.
pub(super) fn socket(address: &RawAddress) -> io::Result<OwnedFd> {
    let (family, protocol) = match address {
        RawAddress::V4(_) => (libc::AF_INET, libc::IPPROTO_TCP),
        RawAddress::V6(_) => (libc::AF_INET6, libc::IPPROTO_TCP),
        RawAddress::Unix(_) => (libc::AF_UNIX, 0),
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(family, kind, protocol) })?;
    // SAFETY: the descriptor was just made and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a socket to an address.
pub(super) fn bind(socket: BorrowedFd<'_>, raw: &RawAddress) -> io::Result<()> {
    // SAFETY: `raw` outlives the call and `len` is its size.
    check(unsafe { libc::bind(socket.as_raw_fd(), raw.as_ptr(), raw.len()) }).map(drop)
}

/// Makes a bound socket listen.
pub(super) fn listen(socket: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: no pointers are passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Sets an option that is on or off.
pub(super) fn enable(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = socklen::<libc::c_int>();
    let value = std::ptr::from_ref(&on).cast();
    // SAFETY: `value` points at `on`, which outlives the call, and `length` is its size.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) }).map(drop)
}

/// Sends small packets at once, over TCP; other sockets never do otherwise.
pub(super) fn send_at_once(socket: BorrowedFd<'_>) -> io::Result<()> {
    match enable(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Takes a connection off a listener, non-blocking, closed on exec.
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let nowhere = std::ptr::null_mut();
    // SAFETY: null means that nobody wants the address.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), nowhere, nowhere.cast(), flags) };
    let fd = check(fd)?;
    // SAFETY: the descriptor was just made and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a socket that is about to connect to `address`.
pub(super) fn connecting(address: &Address) -> io::Result<(OwnedFd, RawAddress)> {
    let raw = RawAddress::try_from(address)?;
    let socket = socket(&raw)?;
    send_at_once(socket.as_fd())?;
    Ok((socket, raw))
}

/// A counter to wake with. It blocks on read; see [`crate::io::Waker`].
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the descriptor was just made and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lends a connection's descriptor to the standard library.
pub(super) fn with_stream<R>(fd: BorrowedFd<'_>, call: impl FnOnce(&TcpStream) -> R) -> R {
    // SAFETY: `fd` is open for the borrow's lifetime; `ManuallyDrop` leaves closing to its owner.
    let stream = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd.as_raw_fd()) });
    call(&stream)
}

/// Whether nothing can be read from a non-blocking socket, neither bytes nor an end.
pub(super) fn is_quiet(fd: BorrowedFd<'_>) -> bool {
    let peeked = with_stream(fd, |stream| stream.peek(&mut [0]));
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Ends one or both directions; a connection that is gone already stays so.
pub(super) fn shutdown(fd: BorrowedFd<'_>, how: Shutdown) {
    // The only failure is ENOTCONN: the peer was faster.
    drop(with_stream(fd, |stream| stream.shutdown(how)));
}

/// Sends pieces without waiting; returns the bytes taken.
pub(super) fn send_pieces<'a>(
    fd: BorrowedFd<'_>,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    let mut iovecs = [EMPTY_IOVEC; SEND_PIECES_MAX];
    let mut count = 0;
    for (slot, piece) in iovecs.iter_mut().zip(pieces) {
        *slot = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
        count += 1;
    }
    let message = libc::msghdr { msg_iov: iovecs.as_mut_ptr(), msg_iovlen: count, ..EMPTY_MESSAGE };
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header describes `count` borrowed pieces, all outliving the call.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
}

/// Starts connecting; `EINPROGRESS` is success.
pub(super) fn start_connect(socket: BorrowedFd<'_>, raw: &RawAddress) -> io::Result<()> {
    // SAFETY: `raw` outlives the call and `len` is its size.
    let result = unsafe { libc::connect(socket.as_raw_fd(), raw.as_ptr(), raw.len()) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other.map(drop),
    }
}

/// How long a connect to a unix socket pauses when its backlog is full: the kernel does not keep it
/// waiting, as it does over TCP.
pub(super) const BACKLOG_PAUSE: Duration = Duration::from_millis(2);

/// Pieces of one [`send_pieces`].
pub(super) const SEND_PIECES_MAX: usize = 64;

/// A scatter list entry to overwrite.
pub(super) const EMPTY_IOVEC: libc::iovec =
    libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// A message header to fill in.
pub(super) const EMPTY_MESSAGE: libc::msghdr = libc::msghdr {
    msg_name: std::ptr::null_mut(),
    msg_namelen: 0,
    msg_iov: std::ptr::null_mut(),
    msg_iovlen: 0,
    msg_control: std::ptr::null_mut(),
    msg_controllen: 0,
    msg_flags: 0,
};

/// Closes a descriptor the caller owns as a plain number.
pub(super) fn close(fd: RawFd) {
    // SAFETY: callers own the descriptor and forget the number.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Turns the kernel's −1 into the thread's error number.
pub(super) fn check(result: libc::c_int) -> io::Result<RawFd> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What an error of an established connection means to the worker.
pub(super) const fn end_reason(errno: i32) -> EndReason {
    match errno {
        libc::ECONNRESET | libc::EPIPE => EndReason::Reset,
        errno => EndReason::Os(errno),
    }
}

/// What an error of a connection attempt means to the worker. `ETIMEDOUT` is the kernel's own limit
/// on connecting, shorter than the worker's.
pub(super) const fn connect_reason(errno: i32) -> EndReason {
    match errno {
        libc::ECONNREFUSED => EndReason::Refused,
        libc::ETIMEDOUT => EndReason::ConnectTimeout,
        libc::ECONNRESET => EndReason::Reset,
        errno => EndReason::Os(errno),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "2, which the structure's field holds")]
const FAMILY_V4: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "10, which the structure's field holds")]
const FAMILY_V6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

#[expect(clippy::cast_possible_truncation, reason = "1, which the structure's field holds")]
const FAMILY_UNIX: libc::sa_family_t = libc::AF_UNIX as libc::sa_family_t;

#[expect(clippy::cast_possible_truncation, reason = "sizes of socket structures fit any integer")]
const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
