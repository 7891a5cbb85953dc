//! Backend connections while no client needs them.
//!
//! Purpose: keep them alive.
//! Never: lend one before its server has said that it is still there, once it was asked.

use bytes::BytesMut;

use crate::base::{Address, Key, Time};
use crate::io::{Chunk, Driver};
use crate::observe::Counter;
use crate::pool::Ping;
use crate::worker::Worker;
use crate::worker::coded::encode;
use crate::worker::entry::Holder;
use crate::worker::idle::{decode, is_wanted};

impl<D: Driver> Worker<D> {
    /// Asks servers that have said nothing for long whether they are still there. Meanwhile their
    /// connections count as idle, and lie on no shelf.
    pub(super) fn ping_unheard(&mut self, now: Time) {
        let silent_max = self.config.pool.ping_idle;
        if silent_max.is_zero() {
            return;
        }
        for slot in self.shelf.unheard(silent_max, now) {
            let Some(holder) = self.slots.get_mut(slot) else { continue };
            let mut out = BytesMut::new();
            let ping = Ping::begin(&mut out);
            *holder = match std::mem::replace(holder, Holder::Session(slot)) {
                Holder::Idle(parked) => Holder::Pinging(ping, parked),
                other @ (Holder::Session(_)
                | Holder::Making(_)
                | Holder::Recycling(..)
                | Holder::Restoring(..)
                | Holder::Pinging(..)
                | Holder::Leaving(_)
                | Holder::Quitting(_)) => other,
            };
            let Holder::Pinging(_, parked) = holder else { continue };
            self.counters.increment(Counter::BackendPings);
            self.recycling.push_back((now + self.config.limits.connect_timeout, slot));
            let link = &mut parked.backend.link;
            if encode(link, &out, &mut self.coder, &mut self.driver, &self.counters).is_err() {
                self.fail_ping(slot);
            }
        }
    }

    /// What a server says that was asked.
    pub(super) fn on_pinged(&mut self, slot: Key, chunk: &Chunk) {
        let Some(Holder::Pinging(ping, parked)) = self.slots.get_mut(slot) else { return };
        let mut plain = BytesMut::new();
        let link = &mut parked.backend.link;
        let decoded = decode(link.transport.as_deref_mut(), chunk, &mut plain, &mut self.coder);
        self.coder.flush(&mut self.driver, link.conn);
        let Some(Ok(is_there)) = decoded.is_ok().then(|| ping.on_bytes(&plain)) else {
            self.fail_ping(slot);
            return;
        };
        if !is_there {
            return;
        }
        self.recycling.retain(|(_, other)| *other != slot);
        self.take_off(slot);
        let Some(holder) = self.slots.get_mut(slot) else { return };
        let taken = std::mem::replace(holder, Holder::Session(slot));
        let Holder::Pinging(_, parked) = taken else {
            *holder = taken;
            return;
        };
        let is_shared = parked.lent.is_some();
        let pool = parked.backend.pool.as_ref();
        let is_wanted = pool.is_some_and(|pool| is_wanted(&self.config.backends, pool));
        *holder = Holder::Idle(parked);
        if !is_wanted {
            self.close_idle(slot);
        } else if is_shared {
            self.freed.push_back(slot);
        } else {
            self.offer(slot);
        }
    }

    fn fail_ping(&mut self, slot: Key) {
        self.counters.increment(Counter::BackendPingFailures);
        self.take_off(slot);
        self.close_idle(slot);
    }

    /// A connection to that server which is idle but for being asked whether it is there.
    pub(super) fn pinged_of(&self, server: &Address) -> Option<Key> {
        let mut slots = self.recycling.iter().map(|(_, slot)| *slot);
        slots.find(|slot| match self.slots.get(*slot) {
            Some(Holder::Pinging(_, parked)) => parked.backend.address == *server,
            Some(_) | None => false,
        })
    }
}
