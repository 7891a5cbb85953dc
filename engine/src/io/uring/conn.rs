//! State of one connection, and the names of its operations.
//!
//! Purpose: small (an idle connection is this struct and nothing else), complete.
//! Never: call the kernel.

use std::os::fd::{BorrowedFd, RawFd};

use crate::base::Key;
use crate::io::buf::Chunk;
use crate::io::out::Queue;
use crate::io::socket::Leaving;
use crate::io::timer::TimerId;
use crate::io::{RecvMode, Token};

/// One connection. Its slot is reused only after the last completion of its operations.
pub(super) struct Conn {
    /// Open until the slot is freed, which queues the close.
    pub(super) fd: RawFd,
    /// Operations in the kernel that will still complete.
    pub(super) ops: u8,
    pub(super) phase: Phase,
    pub(super) closing: Closing,
    pub(super) leaving: Leaving,
    pub(super) desired: RecvMode,
    pub(super) armed: Armed,
    pub(super) send: Send,
    /// On the list of connections with something to do.
    pub(super) dirty: bool,
    /// On the list of connections waiting for buffers, whatever `armed` says meanwhile.
    pub(super) queued_starved: bool,
    /// Nothing more will be received, and `Ended` was reported.
    pub(super) ended: bool,
    /// A send found the connection gone.
    pub(super) broken: bool,
    /// A cancel of everything is on its way.
    pub(super) cancelled: bool,
    /// First failure of this turn's send.
    pub(super) send_result: Option<i32>,
    pub(super) token: Token,
    pub(super) out: Queue,
    /// What the kernel receives into in `Large` mode.
    pub(super) large: Option<Chunk>,
    /// Connect or flush deadline.
    pub(super) timer: Option<TimerId>,
}

/// Life of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for the connect operation.
    Connecting,
    /// Connecting took too long and is being cancelled.
    TimedOut,
    /// Usable.
    Open,
}

/// How far closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The worker has it.
    No,
    /// Sending what is queued; input is thrown away.
    Flush,
    /// FIN sent; input is thrown away until the peer's FIN: closing with unread input makes TCP send
    /// a reset, which can destroy what the peer has not read yet.
    Drain,
    /// Waiting for the last completion.
    Now,
}

/// What the kernel is doing for receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Armed {
    /// Nothing.
    No,
    /// Receive from the buffer ring.
    Small,
    /// The same, cancel sent: wait for its last completion.
    SmallCancelled,
    /// One receive into [`Conn::large`].
    Large,
    /// The same, cancel sent.
    LargeCancelled,
    /// Nothing: no buffer was left. On the driver's starved list.
    Starved,
}

/// What the kernel is doing for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// Nothing.
    Idle,
    /// One attempt, finished when the submission is; so never seen between turns. `bytes` offered.
    Trial {
        /// Bytes offered.
        bytes: usize,
    },
    /// The last attempt was not taken whole: a waiting send comes next.
    Blocked,
    /// A send that waits for room. The queue's front belongs to the kernel.
    Waiting,
}

impl Conn {
    pub(super) fn new(fd: RawFd, phase: Phase, token: Token) -> Self {
        Self {
            fd,
            ops: 0,
            phase,
            closing: Closing::No,
            leaving: Leaving::No,
            desired: RecvMode::Paused,
            armed: Armed::No,
            send: Send::Idle,
            dirty: false,
            queued_starved: false,
            ended: false,
            broken: false,
            cancelled: false,
            send_result: None,
            token,
            out: Queue::default(),
            large: None,
            timer: None,
        }
    }

    /// The socket, for calls of the standard library.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the slot is in use.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Whether something is to be done once it has sent everything.
    pub(super) fn is_going(&self) -> bool {
        self.closing != Closing::No || self.leaving != Leaving::No
    }

    /// Whether nothing of it is in flight or queued.
    pub(super) fn is_still(&self) -> bool {
        let sends = self.send != Send::Idle || self.out.bytes() > 0;
        self.phase == Phase::Open && self.ops == 0 && self.armed == Armed::No && !sends
    }

    /// Whether more may be queued for sending.
    pub(super) fn accepts_sends(&self) -> bool {
        self.closing == Closing::No && !self.broken
    }

    /// What receiving should be like now.
    pub(super) const fn wanted(&self) -> RecvMode {
        match (self.phase, self.closing) {
            (Phase::Connecting | Phase::TimedOut, _) | (_, Closing::Now) => RecvMode::Paused,
            _ if self.ended || matches!(self.leaving, Leaving::Asked) => RecvMode::Paused,
            (Phase::Open, Closing::Flush | Closing::Drain) => RecvMode::Small,
            (Phase::Open, Closing::No) => self.desired,
        }
    }
}

/// Which operation a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Accept,
    Recv,
    /// A send that does not wait.
    Trial,
    /// A send that waits.
    Send,
    Connect,
    Wake,
    /// Cancel and close: nothing depends on their completions.
    Ignored,
}

/// Slots of connections or listeners: more than a process can have descriptors.
pub(super) const SLOTS_MAX: u32 = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 26;
const GENERATION_BITS: u32 = 31;

/// ```text
/// 63     57 56          26 25        0
/// | op     | generation   | index    |
/// ```
pub(super) fn user_data(op: Op, key: Key) -> u64 {
    let op = match op {
        Op::Accept => 1,
        Op::Recv => 2,
        Op::Trial => 3,
        Op::Send => 4,
        Op::Connect => 5,
        Op::Wake => 6,
        Op::Ignored => 7,
    };
    debug_assert!(key.index < SLOTS_MAX, "more connections than descriptors");
    op << (INDEX_BITS + GENERATION_BITS)
        | u64::from(key.generation) << INDEX_BITS
        | u64::from(key.index)
}

/// The reverse of [`user_data`].
pub(super) fn decode(user_data: u64) -> (Op, Key) {
    let op = match user_data >> (INDEX_BITS + GENERATION_BITS) {
        1 => Op::Accept,
        2 => Op::Recv,
        3 => Op::Trial,
        4 => Op::Send,
        5 => Op::Connect,
        6 => Op::Wake,
        _ => Op::Ignored,
    };
    let field = |shift: u32, bits: u32| {
        u32::try_from(user_data >> shift & ((1 << bits) - 1)).unwrap_or_default()
    };
    (op, Key { index: field(0, INDEX_BITS), generation: field(INDEX_BITS, GENERATION_BITS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operations_survive_the_kernel() {
        let keys = [(0, 0), (SLOTS_MAX - 1, u32::MAX >> 1), (77, 1 << 30)];
        for (index, generation) in keys {
            let key = Key { index, generation };
            for op in [Op::Accept, Op::Recv, Op::Trial, Op::Send, Op::Connect, Op::Wake] {
                assert_eq!(decode(user_data(op, key)), (op, key));
            }
        }
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Conn>() <= 160, "{}", size_of::<Conn>());
    }
}
