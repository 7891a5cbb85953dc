//! Listening sockets, one per worker, sharing an address.
//!
//! Purpose: let the kernel spread connections over workers, and notice an address already taken.
//! Never: accept.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use crate::io::sys;

/// Binds `count` listening sockets to one address; with port 0 the first one decides the port.
/// They do not block unless the driver wants them to, and close on exec.
///
/// # Errors
/// The operating system's error, `AddrInUse` also when the address is held by another process of
/// the same user that shares it (`SO_REUSEPORT` alone would join it silently).
pub fn bind_reuseport(address: SocketAddr, count: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    if address.port() != 0 {
        // Without SO_REUSEPORT a shared address counts as taken.
        bind(address, false)?;
    }
    let mut sockets = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count {
        let socket = bind(address, true)?;
        sys::listen(socket.as_fd(), backlog)?;
        let listener = TcpListener::from(socket);
        address.set_port(listener.local_addr()?.port());
        sockets.push(OwnedFd::from(listener));
    }
    Ok(sockets)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let socket = sys::socket(address)?;
    sys::enable(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if shared {
        sys::enable(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    sys::bind(socket.as_fd(), address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn sockets_share_the_port_the_first_one_got() {
        let sockets = bind_reuseport(any(), 3, 16).unwrap();
        let ports: Vec<u16> = sockets
            .into_iter()
            .map(|socket| TcpListener::from(socket).local_addr().unwrap().port())
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn an_address_shared_by_another_owner_is_in_use() {
        let first = TcpListener::from(bind_reuseport(any(), 1, 16).unwrap().remove(0));
        let taken = first.local_addr().unwrap();
        let error = bind_reuseport(taken, 1, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(bind_reuseport(taken, 2, 16).unwrap().len(), 2);
    }
}
