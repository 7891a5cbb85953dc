//! Idle backend connections that go to a worker where a session waits for one.
//!
//! Purpose: what `connections_max` allows is used by whoever needs it, without a new login.
//! Never: ship one that is encrypted or compressed, owes anything or has said anything since, or let
//! its permit out of sight.

use crate::base::{Address, BackendId, Key};
use crate::bus::{Contents, Parcel, Promise, Wish};
use crate::io::{Driver, RecvMode, Socket};
use crate::observe::Counter;
use crate::wire::Side;
use crate::worker::entry::{Holder, Leaving, Link, Parked};
use crate::worker::idle::is_wanted;
use crate::worker::reload::ids_of;
use crate::worker::{IDLE_CHECK, Worker, pack};

impl<D: Driver> Worker<D> {
    /// What a session would be served by that is about to wait for a permit: any connection it can
    /// share.
    pub(super) fn wish_of(&self, key: Key, server: &Address) -> Option<Wish> {
        let entry = self.sessions.get(key)?;
        let home = entry.shares.as_ref()?;
        let pool = if home.server() == server {
            home.clone()
        } else {
            let init = self.view_at(entry, server).and_then(|view| self.init_of(view.id));
            self.logins.get(home)?.sibling(server, init)?.clone()
        };
        let settings = entry.session.settings()?.clone();
        Some(Wish { pool, settings })
    }

    /// Makes room for sessions that wait for a permit, on whichever worker: an idle connection goes
    /// there or is closed.
    pub(super) fn yield_idle(&mut self) {
        for promise in self.desk.take_wanted() {
            let server = promise.server();
            let wish = promise.wish();
            let fit = wish.and_then(|it| self.shelf.oldest_that_fits(&it.pool, &it.settings));
            let any = fit.or_else(|| self.shelf.oldest_of(server));
            match any.or_else(|| self.pinged_of(server)) {
                Some(slot) => self.ship_or_close(slot, Some(promise)),
                // All are in use meanwhile.
                None => self.resources.shared.permits.seek(promise),
            }
        }
    }

    /// Gives up an idle connection that is not on the shelf, to whom it is promised if it can be of
    /// use there.
    pub(super) fn ship_or_close(&mut self, slot: Key, promise: Option<Promise>) {
        let Some(promise) = promise else { return self.close_yielded(slot) };
        let permits = &self.resources.shared.permits;
        if matches!(self.slots.get(slot), Some(Holder::Idle(it)) if it.lent.is_some())
            && !permits.stands(&promise)
        {
            // It was served meanwhile.
            self.freed.push_back(slot);
            return;
        }
        if !self.is_shippable(slot, &promise) {
            permits.withdraw(promise);
            return self.close_yielded(slot);
        }
        let Some(holder) = self.slots.get_mut(slot) else { return };
        let taken = std::mem::replace(holder, Holder::Session(slot));
        let Holder::Idle(parked) = taken else {
            *holder = taken;
            return;
        };
        self.driver.detach(parked.backend.link.conn);
        *holder = Holder::Leaving(Box::new(Leaving { parked, promise }));
        let now = self.ledger.now();
        self.recycling.push_back((now + self.config.limits.connect_timeout, slot));
        self.next_idle_check = self.next_idle_check.min(now + IDLE_CHECK);
    }

    fn close_yielded(&mut self, slot: Key) {
        self.counters.increment(Counter::BackendYielded);
        self.quit(slot);
    }

    fn is_shippable(&self, slot: Key, promise: &Promise) -> bool {
        let Some(Holder::Idle(parked)) = self.slots.get(slot) else { return false };
        let Parked { backend, lent: Some(lent), .. } = &**parked else { return false };
        let fits = promise.wish().is_some_and(|wish| {
            backend.pool.as_ref() == Some(&wish.pool)
                && lent.settings.distance_to(&wish.settings).is_some()
        });
        // What TLS and compression keep of a connection stays with its worker.
        let is_plain = backend.link.transport.is_none();
        let is_old = self.is_outdated(backend);
        fits && is_plain && !is_old && !self.draining && !promise.is_at(&self.desk)
    }

    /// The driver has let a connection go, or cannot.
    pub(super) fn on_detached(&mut self, slot: Key, socket: Option<Socket>) {
        let Some(Holder::Leaving(_)) = self.slots.get(slot) else { return };
        let Some(socket) = socket else {
            self.counters.increment(Counter::BackendSpoiled);
            self.close_idle(slot);
            return;
        };
        self.recycling.retain(|(_, other)| *other != slot);
        let Some(Holder::Leaving(leaving)) = self.slots.remove(slot) else { return };
        let Leaving { parked, promise } = *leaving;
        self.figures.backend_shipped(parked.backend.id);
        let contents = Contents { socket, cargo: parked, promise };
        Parcel::new(&self.resources.shared, contents).send();
    }

    /// Takes in connections that other workers gave up for sessions of this one.
    pub(super) fn open_parcels(&mut self) {
        for parcel in self.desk.take_parcels() {
            if let Some(contents) = parcel.open() {
                self.take_in(contents);
            }
        }
    }

    fn take_in(&mut self, contents: Contents) {
        let Contents { socket, cargo, promise } = contents;
        let permits = &self.resources.shared.permits;
        let nobody = Key { index: u32::MAX, generation: 0 };
        // There are no 2³² connections, and workers send nothing else.
        let slot = self.slots.insert(Holder::Session(nobody));
        let parked = cargo.downcast::<Parked>().ok();
        let adopted = slot.zip(parked).and_then(|(slot, parked)| {
            let conn = self.driver.adopt(socket, pack(slot, Side::Backend))?;
            Some((slot, conn, parked))
        });
        let Some((slot, conn, mut parked)) = adopted else {
            // Its server has ended it on the way.
            self.counters.increment(Counter::BackendLostIdle);
            slot.and_then(|slot| self.slots.remove(slot));
            let server = promise.server().clone();
            permits.withdraw(promise);
            permits.give_back(&server);
            return;
        };
        self.driver.set_recv(conn, RecvMode::Small);
        let backend = &mut parked.backend;
        (backend.slot, backend.link) = (slot, Link::new(conn));
        // The configuration may be another one here, for a moment.
        backend.rename(&ids_of(&self.config.backends));
        let (id, pool) = (backend.id, backend.pool.clone());
        self.figures.backend_opened(id);
        self.figures.backend_idle(id, true);
        let is_of_use = pool.is_some_and(|pool| {
            let is_waited_for = !self.draining || self.first_who_wants(&pool).is_some();
            is_wanted(&self.config.backends, &pool) && is_waited_for && id != BackendId::REMOVED
        });
        if let Some(holder) = self.slots.get_mut(slot) {
            *holder = Holder::Idle(parked);
        }
        if !is_of_use {
            self.resources.shared.permits.withdraw(promise);
            self.close_yielded(slot);
            return;
        }
        self.freed.push_back(slot);
        self.pass_on();
        // Another session may have come first.
        self.resources.shared.permits.seek(promise);
    }
}
