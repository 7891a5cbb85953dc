//! Safe names for the system calls that the standard library lacks.
//!
//! Purpose: sockets made and bound as drivers need them, addresses in the kernel's layout.
//! Never: keep state.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::io::EndReason;

/// A socket address in the kernel's layout.
pub(super) enum RawAddress {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl RawAddress {
    /// Start of the address, valid as long as `self`.
    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        match self {
            Self::V4(address) => std::ptr::from_ref(address).cast(),
            Self::V6(address) => std::ptr::from_ref(address).cast(),
        }
    }

    /// Bytes of the address.
    pub(super) const fn len(&self) -> libc::socklen_t {
        match self {
            Self::V4(_) => socklen::<libc::sockaddr_in>(),
            Self::V6(_) => socklen::<libc::sockaddr_in6>(),
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

/// A TCP socket for `address`'s family, non-blocking, closed on exec.
pub(super) fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) })?;
    // SAFETY: the descriptor was just made and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a socket to an address.
pub(super) fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let raw = RawAddress::from(address);
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
pub(super) fn start_connect(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let raw = RawAddress::from(address);
    // SAFETY: `raw` outlives the call and `len` is its size.
    let result = unsafe { libc::connect(socket.as_raw_fd(), raw.as_ptr(), raw.len()) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other.map(drop),
    }
}

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

#[expect(clippy::cast_possible_truncation, reason = "sizes of socket structures fit any integer")]
const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
