//! Kernel behaviour the driver relies on, and what the suite cannot see from outside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::{opcode, types};

use super::probe::build;
use super::ring::Ring;
use super::{Features, Uring};
use crate::base::{Address, Time};
use crate::io::{Driver, DriverOptions, RecvMode, Token, bind};

const TRIAL: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    (ours, theirs)
}

fn ring() -> Ring {
    let (io, features) = build(8, Features::ALL).expect("these tests need io_uring");
    Ring::new(io, features)
}

/// One attempt to send; its completion, if any came with the submission.
fn attempt(ring: &mut Ring, socket: &TcpStream, bytes: &[u8]) -> Option<i32> {
    let len = u32::try_from(bytes.len()).unwrap();
    let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), len)
        .flags(TRIAL)
        .build()
        .flags(Flags::SKIP_SUCCESS)
        .user_data(9);
    // SAFETY: `bytes` outlives `enter`, and the operation ends inside it.
    unsafe { ring.push(&entry) }.unwrap();
    ring.enter(0, None).unwrap();
    assert!(ring.cqes.iter().all(|cqe| cqe.user_data == 9) && ring.cqes.len() <= 1);
    ring.cqes.pop().map(|cqe| cqe.result)
}

#[test]
fn silence_after_an_attempt_means_that_all_was_taken() {
    let mut ring = ring();
    let (ours, mut theirs) = pair();
    let mut sent = 0;
    let block = vec![7; 300_000];
    // Success is silent, until one is cut short …
    let short = loop {
        match attempt(&mut ring, &ours, &block) {
            None => sent += block.len(),
            Some(result) => break result,
        }
        assert!(sent < 1 << 30, "the socket never fills");
    };
    if short > 0 {
        sent += usize::try_from(short).unwrap();
        assert!(sent % block.len() != 0);
    } else {
        assert_eq!(short, -libc::EAGAIN);
    }
    // … and then it is full.
    assert_eq!(attempt(&mut ring, &ours, b"more"), Some(-libc::EAGAIN));
    // No later completion changes the story.
    ring.enter(1, Some(Duration::from_millis(10))).unwrap();
    assert!(ring.cqes.is_empty());
    drop(ours);
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent);
}

#[test]
fn an_attempt_on_a_dead_connection_fails_at_once() {
    let mut ring = ring();
    let (ours, theirs) = pair();
    (&ours).write_all(b"unread, so that closing resets").unwrap();
    drop(theirs);
    let results: Vec<_> = (0..3).map(|_| attempt(&mut ring, &ours, b"x")).collect();
    assert!(
        results.iter().flatten().all(|result| [-libc::ECONNRESET, -libc::EPIPE].contains(result)),
        "{results:?}"
    );
    assert!(results[2].is_some(), "{results:?}");
}

#[test]
fn an_idle_turn_with_everything_armed_costs_no_submission() {
    let mut driver = Uring::new(&DriverOptions::default()).expect("these tests need io_uring");
    let socket = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 0, 1, 16).unwrap().remove(0);
    let listener = TcpListener::from(socket);
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    driver.listen(listener.into(), Token(1)).unwrap();
    let mut events = Vec::new();
    driver.turn(Time::NEVER, &mut events).unwrap();
    let crate::io::Event::Accepted { conn, .. } = events.remove(0) else { panic!("{events:?}") };
    driver.set_recv(conn, RecvMode::Small);
    for _ in 0..3 {
        let deadline = driver.now() + Duration::from_millis(1);
        driver.turn(deadline, &mut events).unwrap();
    }
    assert!(driver.dirty.is_empty() && driver.ring.io.submission().is_empty());
    let queued_before = driver.operations();
    for _ in 0..10 {
        (&client).write_all(b"query").unwrap();
        driver.turn(Time::NEVER, &mut events).unwrap();
        // One receive serves them all: nothing was armed again.
        assert!(matches!(events.pop(), Some(crate::io::Event::Received { .. })));
        assert_eq!(driver.operations(), queued_before);
        if driver.features().multishot_recv {
            assert!(driver.dirty.is_empty());
        }
    }
}
