//! State of one connection under epoll.
//!
//! Purpose: small, complete.
//! Never: call the kernel.

use std::os::fd::OwnedFd;

use crate::base::Key;
use crate::io::out::Queue;
use crate::io::socket::Leaving;
use crate::io::timer::TimerId;
use crate::io::{RecvMode, Token};

/// One connection; dropping it closes the socket.
pub(super) struct Conn {
    /// `None` only when no socket could be made.
    pub(super) socket: Option<OwnedFd>,
    pub(super) phase: Phase,
    pub(super) desired: RecvMode,
    /// The kernel may have bytes, or an end of stream, that we have not read.
    pub(super) readable: bool,
    /// The peer finished: a short read does not mean that nothing follows.
    pub(super) hung_up: bool,
    /// The last send was not taken whole.
    pub(super) blocked: bool,
    /// Room to send is watched for.
    pub(super) watches_write: bool,
    /// On the list of connections with bytes to send or a close to advance.
    pub(super) dirty: bool,
    /// On the list of connections to read from.
    pub(super) queued_ready: bool,
    /// On the list of connections waiting for buffers.
    pub(super) queued_starved: bool,
    /// Nothing more will be received, and `Ended` was reported.
    pub(super) ended: bool,
    /// A send found the connection gone.
    pub(super) broken: bool,
    pub(super) leaving: Leaving,
    pub(super) token: Token,
    pub(super) out: Queue,
    /// Connect or flush deadline.
    pub(super) timer: Option<TimerId>,
}

/// Life of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for the peer's answer.
    Connecting,
    /// The worker has it.
    Open,
    /// Closed by the worker while connecting, with bytes to flush.
    ConnectingFlush,
    /// Closed by the worker; sending what is queued, input is thrown away.
    Flush,
    /// FIN sent; input is thrown away until the peer's FIN (unread input at close would make TCP send
    /// a reset, which can destroy what the peer has not read yet).
    Drain,
}

impl Conn {
    pub(super) fn new(socket: Option<OwnedFd>, phase: Phase, token: Token) -> Self {
        Self {
            socket,
            phase,
            desired: RecvMode::Paused,
            readable: false,
            hung_up: false,
            blocked: false,
            watches_write: false,
            dirty: false,
            queued_ready: false,
            queued_starved: false,
            ended: false,
            broken: false,
            leaving: Leaving::No,
            token,
            out: Queue::default(),
            timer: None,
        }
    }

    /// Whether the worker still has it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
    }

    /// Whether more may be queued for sending.
    pub(super) fn accepts_sends(&self) -> bool {
        self.is_open() && !self.broken
    }

    /// Whether bytes can leave now.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Flush | Phase::Drain)
    }

    /// What receiving should be like now.
    pub(super) fn wanted(&self) -> RecvMode {
        match self.phase {
            _ if self.ended => RecvMode::Paused,
            Phase::Connecting | Phase::ConnectingFlush => RecvMode::Paused,
            Phase::Open => self.desired,
            Phase::Flush | Phase::Drain => RecvMode::Small,
        }
    }
}

/// What an epoll registration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Conn(Key),
    Listener(Key),
    Wake,
}

const LISTENER_BIT: u64 = 1 << 63;
const WAKE: u64 = u64::MAX;

impl Source {
    /// ```text
    /// 63          62           32 31        0
    /// | listener? | generation   | index    |     all ones: the eventfd
    /// ```
    pub(super) fn encode(self) -> u64 {
        let pack = |key: Key| u64::from(key.generation) << 32 | u64::from(key.index);
        match self {
            Self::Conn(key) => pack(key),
            Self::Listener(key) => LISTENER_BIT | pack(key),
            Self::Wake => WAKE,
        }
    }

    pub(super) fn decode(data: u64) -> Self {
        if data == WAKE {
            return Self::Wake;
        }
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        let key = Key { index: half(data), generation: half((data & !LISTENER_BIT) >> 32) };
        if data & LISTENER_BIT == 0 { Self::Conn(key) } else { Self::Listener(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_kernel() {
        let key = Key { index: 12, generation: u32::MAX >> 1 };
        for source in [Source::Conn(key), Source::Listener(key), Source::Wake] {
            assert_eq!(Source::decode(source.encode()), source);
        }
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Conn>() <= 112, "{}", size_of::<Conn>());
    }
}
