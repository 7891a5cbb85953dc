//! Bytes between the two sides of a session.
//!
//! Purpose: feed sessions, carry out their edits, and keep a fast side from flooding a slow one.
//! Never: look into the bytes.

use crate::base::{Blame, EndpointId, Fault, Key, Time};
use crate::io::{Chunk, CloseMode, ConnId, Driver, EndReason, RecvMode};
use crate::observe::Counter;
use crate::session::{Action, Entry, Tally};
use crate::wire::{Edit, Side, code};
use crate::worker::accept::peer;
use crate::worker::coded::Broken;
use crate::worker::entry::{BackendLink, Stage};
use crate::worker::{FLUSH_MAX, Worker};

/// A frame with this much still to come is received into large buffers.
const LARGE_AHEAD_BYTES: usize = 64 << 10;

/// So many full small buffers in a row mean a stream of many rows: large buffers from here on.
const LARGE_AFTER_FULL: u8 = 8;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// What is queued is sent to both sides first.
    InOrder,
    /// The backend connection is of no use any more; the client still gets its error.
    Broken,
}

impl<D: Driver> Worker<D> {
    pub(super) fn on_received(&mut self, key: Key, side: Side, chunk: Chunk) {
        let received = match side {
            Side::Client => Counter::BytesFromClients,
            Side::Backend => Counter::BytesFromBackends,
        };
        let chunk_bytes = chunk.len();
        self.counters.add(received, chunk_bytes as u64);
        let link = self.sessions.get(key).and_then(|entry| entry.link(side));
        if link.is_some_and(|link| link.transport.is_some()) {
            self.on_coded(key, side, &chunk);
        } else {
            self.feed(key, side, Input::Received(chunk));
        }
        self.choose_buffers(key, side, chunk_bytes);
    }

    /// Lets a machine see bytes of one side, and does what it wants done.
    pub(super) fn feed(&mut self, key: Key, side: Side, mut input: Input<'_>) {
        if side == Side::Client && self.keeps_input(key) {
            // A command before it waits for a connection.
            self.set_ahead(key, input.bytes());
            return;
        }
        loop {
            self.feed_once(key, side, &mut input);
            // Only a session that waits for its backend connection leaves any of its input.
            if input.bytes().is_empty() || side != Side::Client {
                return;
            }
            if self.keeps_input(key) {
                self.set_ahead(key, input.bytes());
                return;
            }
            if self.sessions.get(key).is_none() {
                return;
            }
        }
    }

    fn feed_once(&mut self, key: Key, side: Side, input: &mut Input<'_>) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let endpoint = entry.endpoint;
        self.edits.clear();
        let fed = match (side, entry.backend.as_deref()) {
            (Side::Client, _) => {
                entry.session.on_client(input.bytes(), &mut self.edits, &mut self.ledger)
            }
            (Side::Backend, Some(BackendLink { stage: Stage::Login(..), .. })) => {
                self.on_backend_login(key, input.bytes());
                return;
            }
            (Side::Backend, Some(BackendLink { stage: Stage::Init(..), .. })) => {
                self.on_backend_init(key, input.bytes());
                return;
            }
            (Side::Backend, Some(BackendLink { stage: Stage::Opening(..), .. })) => {
                self.on_backend_opening(key, input.bytes());
                return;
            }
            (Side::Backend, Some(BackendLink { stage: Stage::Greeting(..), .. })) => {
                self.on_backend_greeting(key, input.bytes());
                return;
            }
            (Side::Backend, Some(BackendLink { stage: Stage::Changing(..), .. })) => {
                self.on_backend_change(key, input.bytes());
                return;
            }
            (Side::Backend, _) => {
                entry.session.on_backend(input.bytes(), &mut self.edits, &mut self.ledger)
            }
        };
        let sent = self.carry_out(key, side, input);
        if !self.ledger.entries().is_empty() {
            self.book(endpoint);
        }
        match (fed, sent) {
            (Ok(tally), Ok(())) => self.after_feed(key, tally),
            (Ok(_), Err(broken)) => self.break_off(key, &broken),
            (Err(fault), _) => self.fail(key, &fault),
        }
    }

    /// Books what feeding a session of that endpoint came to.
    pub(super) fn book(&mut self, endpoint: EndpointId) {
        for (entry, times) in self.ledger.entries() {
            match *entry {
                Entry::Answered(nanos) => self.figures.commands(endpoint, nanos, *times),
                Entry::BackendError(code) => self.figures.backend_errors.count(code, *times),
                Entry::OwnError(code) => self.figures.own_errors.count(code, *times),
                Entry::Pinned(pins) => self.figures.pinned(pins, *times),
                Entry::Unpinned(pins) => self.figures.unpinned(pins, *times),
                Entry::Local => self.counters.add(Counter::CommandsLocal, u64::from(*times)),
                Entry::Routed { replica, why } => {
                    self.figures.routed(endpoint, replica, why.index(), *times);
                }
                Entry::Waited { in_time, nanos } => {
                    self.figures.waited(endpoint, in_time, nanos, *times);
                }
                Entry::PositionLost => {
                    self.counters.add(Counter::PositionsLost, u64::from(*times));
                    self.note_lost(endpoint);
                }
                Entry::Repeated => self.counters.add(Counter::ReadsRepeated, u64::from(*times)),
                Entry::Prepared => self.counters.add(Counter::BackendPrepares, u64::from(*times)),
            }
        }
        self.ledger.clear();
    }

    /// Carries out the edits of one input.
    fn carry_out(&mut self, key: Key, from: Side, input: &mut Input<'_>) -> Result<(), Broken> {
        let Some(entry) = self.sessions.get(key) else { return Ok(()) };
        self.touched.push(key);
        if !entry.is_plain() {
            return self.carry_out_coded(key, from, input);
        }
        let to = other(from);
        for edit in self.edits.list() {
            match edit {
                Edit::Forward(count) => {
                    let piece = input.take(*count);
                    if let Some(link) = entry.link(to) {
                        piece.send(&mut self.driver, link.conn);
                    }
                }
                Edit::Discard(count) => input.discard(*count),
                Edit::Send(side, range) => {
                    if let Some(link) = entry.link(*side) {
                        self.driver.send_copy(link.conn, self.edits.bytes(range));
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what a machine wrote without having been fed.
    pub(super) fn send_edits(&mut self, key: Key) {
        // A connection that cannot even be written to says so when it is read.
        drop(self.carry_out(key, Side::Client, &mut Input::Decoded(&mut [])));
    }

    fn after_feed(&mut self, key: Key, tally: Tally) {
        if tally != Tally::default() {
            self.counters.add(Counter::Commands, u64::from(tally.commands));
            self.counters.add(Counter::Replies, u64::from(tally.replies));
            self.counters.add(Counter::ReplyErrors, u64::from(tally.errors));
        }
        self.act(key);
        if self.draining && tally.replies > 0 {
            self.end_if_at_rest(key);
        }
    }

    /// Carries out what a session wants after it was fed.
    pub(super) fn act(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if !entry.session.has_action() {
            return;
        }
        match entry.session.next_action() {
            None => {}
            Some(Action::Name(origin)) => self.on_named(key, origin),
            Some(Action::StartTls(rest)) => self.start_client_tls(key, &rest),
            Some(Action::Open(sealed)) => self.open_password(key, sealed),
            Some(Action::Lease(request)) => self.open_lease(key, *request),
            Some(Action::FindThreads) => self.find_threads(key),
            Some(Action::ListThreads) => self.list_threads(key),
            Some(Action::Identify) => self.identify(key),
            Some(Action::ChangeUser(request)) => self.change_user(key, *request),
            Some(Action::Acquire) => self.acquire(key),
            Some(Action::Hold(hold)) => self.hold(key, hold),
            Some(Action::Release) => {
                self.release(key);
                // A command that came in pieces, which is for another connection.
                if self.sessions.get(key).is_some_and(|entry| entry.session.has_ahead()) {
                    self.resume(key);
                }
            }
            Some(Action::Resume) => self.resume(key),
            Some(Action::Close) => self.close_session(key, Ending::InOrder),
        }
    }

    /// Large buffers for large payloads and long streams, small ones for everything else.
    fn choose_buffers(&mut self, key: Key, side: Side, chunk_bytes: usize) {
        let small_bytes = self.config.limits.receive_buffer_bytes;
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let ahead = entry.session.bytes_ahead(side);
        let Some(link) = entry.link_mut(side) else { return };
        let mode = match link.mode {
            RecvMode::Large if ahead == 0 && chunk_bytes < small_bytes => RecvMode::Small,
            RecvMode::Large => return,
            // A large buffer of compressed bytes would be far more than the other side can take.
            RecvMode::Small | RecvMode::Paused if link.is_compressed() => return,
            RecvMode::Small | RecvMode::Paused => {
                let full = chunk_bytes >= small_bytes;
                link.full_in_a_row = if full { link.full_in_a_row.saturating_add(1) } else { 0 };
                if ahead < LARGE_AHEAD_BYTES && link.full_in_a_row < LARGE_AFTER_FULL {
                    return;
                }
                RecvMode::Large
            }
        };
        link.full_in_a_row = 0;
        link.mode = mode;
        if link.held_by.is_empty() {
            self.driver.set_recv(link.conn, mode);
        }
    }

    /// Stops receiving for sessions whose other side did not take what was sent last turn.
    pub(super) fn check_back_pressure(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            let Some(entry) = self.sessions.get(key) else { continue };
            let unsent =
                |side| entry.link(side).map_or(0, |link| self.driver.unsent_bytes(link.conn));
            let (to_client, to_backend) = (unsent(Side::Client), unsent(Side::Backend));
            if to_client > 0 {
                // A client waits for its own answers too: it may send commands that Weir refuses,
                // and never read the refusals.
                self.hold_back(key, Side::Client, Side::Client, to_client);
                self.hold_back(key, Side::Backend, Side::Client, to_client);
            }
            if to_backend > 0 {
                self.hold_back(key, Side::Client, Side::Backend, to_backend);
            }
        }
        self.touched = touched;
    }

    /// Holds `source` back while too much waits to be sent to `queue`. Right after a turn what
    /// waits was not taken by the kernel, so that [`Event::Drained`](crate::io::Event) will come.
    fn hold_back(&mut self, key: Key, source: Side, queue: Side, unsent: usize) {
        if !self.is_too_much(unsent) {
            return;
        }
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(link) = entry.link_mut(source) else { return };
        if link.held_by.is_empty() {
            self.driver.set_recv(link.conn, RecvMode::Paused);
            self.counters.increment(Counter::BackPressurePauses);
        }
        link.held_by.set(queue, true);
    }

    /// Whether so many bytes for one side are reason to read no more of what goes there.
    pub(super) fn is_too_much(&self, unsent: usize) -> bool {
        let limits = &self.config.limits;
        unsent >= limits.session_buffer_bytes
            || unsent > 0 && self.driver.stats().spilled_bytes > limits.worker_buffer_bytes
    }

    /// What waited for one side has left: whoever was held back because of it may send again.
    pub(super) fn on_drained(&mut self, key: Key, side: Side) {
        for source in [Side::Client, Side::Backend] {
            let Some(link) = self.sessions.get_mut(key).and_then(|it| it.link_mut(source)) else {
                continue;
            };
            if link.held_by.is_empty() {
                continue;
            }
            link.held_by.set(side, false);
            if link.held_by.is_empty() {
                self.driver.set_recv(link.conn, link.mode);
            } else if !link.held_by.is_by_queue() {
                self.decode(key, source);
            }
        }
    }

    pub(super) fn on_ended(&mut self, key: Key, side: Side, reason: EndReason) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        // What came before the end is dealt with first, if anybody is left who wants it.
        if (side == Side::Backend || reason == EndReason::Eof)
            && let Some(link) = entry.link_mut(side)
            && link.held_by.is_by_input()
            && let Some(transport) = &mut link.transport
        {
            transport.end_later(reason);
            return;
        }
        match side {
            Side::Client => {
                // Leaving without COM_QUIT is common and harmless, but not inside a command. Health
                // checks reset connections they never meant to log in on.
                let in_header = entry.session.is_inside_header();
                if in_header {
                    self.counters.increment(Counter::ProxyHeadersIncomplete);
                }
                let cut = in_header || entry.session.bytes_ahead(Side::Client) > 0;
                if cut || reason != EndReason::Eof && !entry.session.is_logging_in() {
                    self.counters.increment(Counter::ClientFaults);
                }
                // With nobody to read a reply, its sender is told so by a reset, instead of being read
                // to its end. Not while a command may still have to leave.
                let awaits_reply = entry.session.awaits_reply();
                let abandons = reason != EndReason::Eof
                    && awaits_reply
                    && entry
                        .link(Side::Backend)
                        .is_some_and(|link| self.driver.unsent_bytes(link.conn) == 0);
                let culprit = entry.culprit();
                self.edits.clear();
                entry.session.on_client_end(&mut self.edits);
                if !abandons {
                    self.send_edits(key);
                }
                self.handshake_failed(culprit);
                // Nobody is left who could read what a command that waits would come to.
                let waits = self.is_held(key) && !awaits_reply;
                if reason == EndReason::Eof && !waits {
                    self.act(key);
                } else {
                    let ending = if abandons { Ending::Broken } else { Ending::InOrder };
                    self.close_session(key, ending);
                }
            }
            Side::Backend => self.on_backend_ended(key, reason),
        }
    }

    /// Ends a session with an error.
    pub(super) fn fail(&mut self, key: Key, fault: &Fault) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let id = entry.session.id();
        let denied = entry.session.is_logging_in() && fault.code == code::ACCESS_DENIED_ERROR;
        let is_clients = fault.blame == Blame::Client && !denied;
        let culprit = entry.culprit().filter(|_| is_clients);
        if is_clients && entry.session.awaits_header() {
            let late = fault.code == code::NET_READ_INTERRUPTED;
            self.counters.increment(if late {
                Counter::ProxyHeadersIncomplete
            } else {
                Counter::ProxyHeadersMalformed
            });
        }
        let counter = if denied { Counter::LoginsDenied } else { Counter::from(fault.blame) };
        self.counters.increment(counter);
        self.figures.own_errors.count(fault.code, 1);
        let endpoint = self.config.endpoint(entry.endpoint).map_or("?", |it| &it.name);
        let backend = entry.backend.as_ref().and_then(|it| self.snapshot.backend(it.id));
        let conn = entry.client.conn;
        let client = entry.address.or_else(|| peer(&self.driver, conn));
        crate::observe::log_limited!(
            self.ledger.now(),
            warn,
            session = id.get(),
            client = client.map(tracing::field::display),
            endpoint,
            backend = backend.map(|view| &*view.name),
            code = fault.code,
            "session ended: {}",
            fault.message
        );
        self.edits.clear();
        let now = self.driver.now();
        let out_of_time = self.draining && self.drain_deadline == Time::NEVER;
        let parting_max = if out_of_time { now } else { now + self.config.limits.login_timeout };
        entry.session.fail(fault, parting_max, &mut self.edits);
        self.handshake_failed(culprit);
        self.send_edits(key);
        if self.sessions.get(key).is_some_and(|entry| entry.session.is_parting()) {
            self.part(key);
        } else {
            self.close_session(key, Ending::Broken);
        }
    }

    /// Closes both connections of a session and forgets it.
    pub(super) fn close_session(&mut self, key: Key, ending: Ending) {
        self.login_over(key);
        if ending == Ending::InOrder {
            self.recycle_of(key);
        }
        self.close_transports(key, ending);
        self.leave_backend(key);
        self.forget_hold(key);
        let Some(mut entry) = self.sessions.remove(key) else { return };
        let id = entry.session.id();
        self.figures.unpinned(entry.session.pins(), 1);
        if let Some(pool) = &entry.shares {
            self.leave_login(pool);
        }
        self.leave_seats(&mut entry);
        self.resources.shared.dismiss(entry.address);
        self.ids.remove(&id.get());
        self.resources.directory.remove(id);
        let flush = CloseMode::Flush(FLUSH_MAX);
        self.driver.close(entry.client.conn, flush);
        if let Some(backend) = entry.backend {
            self.slots.remove(backend.slot);
            self.figures.backend_closed(backend.id);
            if let Some(lease) = backend.lease() {
                tracing::debug!(session = id.get(), ?lease, "lease ended");
            }
            let mode = match ending {
                Ending::InOrder => flush,
                Ending::Broken => CloseMode::Now,
            };
            self.driver.close(backend.link.conn, mode);
        }
        self.counters.increment(Counter::SessionsClosed);
        tracing::debug!(session = id.get(), "session closed");
    }
}

/// Bytes a machine is fed with.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// As they came from the socket; they go on without being copied.
    Received(Chunk),
    /// Kept or decoded before; they go on as copies.
    Decoded(&'a mut [u8]),
}

impl Input<'_> {
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Received(chunk) => chunk,
            Self::Decoded(bytes) => bytes,
        }
    }

    /// Takes the first `count` bytes off.
    pub(super) fn take(&mut self, count: usize) -> Self {
        match self {
            Self::Received(chunk) => Self::Received(chunk.split_to(count)),
            Self::Decoded(bytes) => Self::Decoded(bytes.split_off_mut(..count).unwrap_or_default()),
        }
    }

    /// Drops the first `count` bytes.
    pub(super) fn discard(&mut self, count: usize) {
        match self {
            Self::Received(chunk) => chunk.advance(count),
            Self::Decoded(_) => drop(self.take(count)),
        }
    }

    pub(super) fn send(self, driver: &mut impl Driver, to: ConnId) {
        match self {
            Self::Received(chunk) => driver.send(to, chunk),
            Self::Decoded(bytes) => driver.send_copy(to, bytes),
        }
    }
}

pub(super) const fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Backend,
        Side::Backend => Side::Client,
    }
}
