//! Listening sockets for every worker.
//!
//! Purpose: let the kernel spread connections over workers, and notice an address already taken.
//! Never: accept, or take a socket's file away from somebody who listens.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::base::Address;
use crate::io::sys::{self, RawAddress};

/// Binds a listening socket for each of `count` workers. They do not block unless the driver wants
/// them to, and close on exec. `mode` has the permission bits of a unix socket's file.
///
/// # Errors
/// The operating system's error; `AddrInUse` also where the address is held by another process that
/// would share it.
pub fn bind(address: &Address, mode: u32, count: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    match address {
        Address::Tcp(address) => bind_reuseport(*address, count, backlog),
        Address::Unix(path) => bind_unix(path, mode, count, backlog),
    }
}

/// With port 0 the first socket decides the port.
fn bind_reuseport(address: SocketAddr, count: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    if address.port() != 0 {
        // Without SO_REUSEPORT a shared address counts as taken; with it, an address that another
        // process of the same user shares would be joined silently.
        bind_tcp(address, false)?;
    }
    let mut sockets = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count {
        let socket = bind_tcp(address, true)?;
        sys::listen(socket.as_fd(), backlog)?;
        let listener = TcpListener::from(socket);
        address.set_port(listener.local_addr()?.port());
        sockets.push(OwnedFd::from(listener));
    }
    Ok(sockets)
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let raw = RawAddress::from(address);
    let socket = sys::socket(&raw)?;
    sys::enable(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if shared {
        sys::enable(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    sys::bind(socket.as_fd(), &raw)?;
    Ok(socket)
}

/// Unix sockets have no SO_REUSEPORT: all workers accept from one socket.
fn bind_unix(path: &Path, mode: u32, count: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    remove_stale(path)?;
    let raw = RawAddress::try_from(&Address::Unix(path.into()))?;
    let socket = sys::socket(&raw)?;
    sys::bind(socket.as_fd(), &raw)?;
    // Before anybody can connect.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    sys::listen(socket.as_fd(), backlog)?;
    let mut sockets = Vec::with_capacity(count);
    for _ in 1..count {
        sockets.push(socket.try_clone()?);
    }
    sockets.push(socket);
    Ok(sockets)
}

/// Removes the file that a process left behind which did not end in good order.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "a file that is no socket is there"));
    }
    let raw = RawAddress::try_from(&Address::Unix(path.into()))?;
    let visitor = sys::socket(&raw)?;
    match sys::start_connect(visitor.as_fd(), &raw) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) | Err(_) => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

/// Removes the file of a socket that nobody listens on any more. A ring whose thread has ended lets
/// go of its listener a moment later: that is waited for, a second at most.
pub fn unbind(address: &Address) {
    let Address::Unix(path) = address else { return };
    for _ in 0..UNBIND_TRIES {
        // Whoever has taken the address over meanwhile keeps it, and nobody needs the file else.
        match remove_stale(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(UNBIND_PAUSE),
            Ok(()) | Err(_) => return,
        }
    }
}

const UNBIND_TRIES: u32 = 100;
const UNBIND_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// A file of its own for each test.
    fn file(name: &str) -> (PathBuf, Address) {
        let path = std::env::temp_dir().join(format!("weir-listen-{}-{name}", std::process::id()));
        drop(fs::remove_file(&path));
        (path.clone(), Address::Unix(path.into()))
    }

    #[test]
    fn workers_share_one_unix_socket() {
        let (path, address) = file("shared");
        let sockets = bind(&address, 0o640, 3, 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        for socket in &sockets {
            let client = UnixStream::connect(&path).unwrap();
            sys::accept(socket.as_fd()).unwrap();
            drop(client);
        }
        // In use as long as one of them is.
        let mut sockets = sockets.into_iter();
        let last = sockets.next();
        drop(sockets);
        let error = bind(&address, 0o777, 1, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        unbind(&address);
        assert!(path.exists(), "somebody listens");
        drop(last);
        // What is left behind is taken over, and removed in the end.
        drop(bind(&address, 0o777, 2, 16).unwrap());
        assert!(path.exists());
        unbind(&address);
        assert!(!path.exists());
        unbind(&address);
    }

    #[test]
    fn a_listener_that_goes_a_moment_later_leaves_no_file() {
        let (path, address) = file("later");
        let listeners = bind(&address, 0o777, 1, 16).unwrap();
        let ring = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(listeners);
        });
        unbind(&address);
        assert!(!path.exists());
        ring.join().unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let (path, address) = file("plain");
        fs::write(&path, "precious").unwrap();
        let error = bind(&address, 0o777, 1, 16).unwrap_err();
        assert_eq!(error.to_string(), "a file that is no socket is there");
        unbind(&address);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
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
