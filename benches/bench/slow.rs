//! A way to a server that makes it slow.
//!
//! Purpose: a relay whose answers take their time one after the other, as those of a server with too
//! little CPU do.
//! Never: end before the process does, or care for errors: whoever notices one connects again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

/// Starts a relay to `server`, whose every answer takes so long; where it listens.
pub(crate) fn start(server: SocketAddr, answer: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let turn = Arc::new(Mutex::new(()));
    thread::Builder::new().name("slow".to_owned()).spawn(move || {
        for client in listener.incoming().flatten() {
            let turn = Arc::clone(&turn);
            // Without threads the connection ends, and that is seen.
            drop(thread::Builder::new().spawn(move || relay(client, server, &turn, answer)));
        }
    })?;
    Ok(address)
}

fn relay(
    client: TcpStream,
    server: SocketAddr,
    turn: &Mutex<()>,
    answer: Duration,
) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::Builder::new().spawn(move || {
        let ended = io::copy(&mut from_client, &mut to_server);
        drop(to_server.shutdown(std::net::Shutdown::Both));
        ended
    })?;
    let (mut from_server, mut to_client) = (server, client);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from_server.read(&mut buffer)?;
        if count == 0 {
            return to_client.shutdown(std::net::Shutdown::Both);
        }
        {
            let _own = turn.lock().unwrap_or_else(PoisonError::into_inner);
            thread::sleep(answer);
        }
        to_client.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}
