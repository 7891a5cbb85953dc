//! How fast a peer reads and writes.
//!
//! Purpose: cut what a peer sends anywhere, and let it stop reading for a while.
//! Never: lose or change a byte.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use weir::base::Time;
use weir::io::{FakeNet, FakePeer, PeerRead};

use crate::client::Around;
use crate::rng::Rng;

/// A peer's speed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes read at once, at most.
    reads: usize,
    /// Bytes written at once, at most.
    writes: usize,
    /// Does not read for this long, once, after so many bytes.
    stall: Option<(usize, Duration)>,
}

impl Pace {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let stall = Duration::from_millis(rng.between(1, 3_000) as u64);
        Self {
            reads: rng.pick(&[512, 4096, 16 << 10, 16 << 10]),
            writes: rng.pick(&[3, 100, 5_000, 1 << 20, 1 << 20]),
            stall: rng.percent(25).then(|| (rng.between(0, 50_000), stall)),
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Hands {
    peer: FakePeer,
    pace: Pace,
    rng: Rng,
    /// To be written.
    pub(crate) out: BytesMut,
    /// FIN when all is written.
    pub(crate) fin_after: bool,
    read: usize,
    stalled_until: Option<Time>,
}

impl Hands {
    pub(crate) fn new(peer: FakePeer, pace: Pace, rng: Rng) -> Self {
        let out = BytesMut::new();
        Self { peer, pace, rng, out, fin_after: false, read: 0, stalled_until: None }
    }

    pub(crate) fn read(&mut self, around: &Around<'_>, into: &mut [u8]) -> PeerRead {
        if let Some((after, stall)) = self.pace.stall
            && self.read >= after
        {
            let until = *self.stalled_until.get_or_insert(around.now + stall);
            if around.now < until && !around.healed {
                return PeerRead::Nothing;
            }
            self.pace.stall = None;
        }
        let most = self.pace.reads.min(into.len());
        let count = if self.rng.percent(30) { self.rng.between(1, most) } else { most };
        let read = around.net.read(self.peer, &mut into[..count]);
        if let PeerRead::Bytes(count) = read {
            self.read += count;
        }
        read
    }

    /// Writes some; how much.
    pub(crate) fn write(&mut self, net: &FakeNet) -> usize {
        // Large amounts a byte at a time would tell nothing new.
        let most = self.out.len().min(self.pace.writes.max(self.out.len() / 50));
        let count = if self.rng.percent(30) { self.rng.between(1, most + 1) } else { most };
        let count = net.write(self.peer, &self.out[..count.min(self.out.len())]);
        self.out.advance(count);
        if self.fin_after && self.out.is_empty() {
            self.fin_after = false;
            net.fin(self.peer);
        }
        count
    }
}
