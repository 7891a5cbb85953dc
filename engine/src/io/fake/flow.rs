//! Moving bytes and changing states of simulated connections.
//!
//! Purpose: what a kernel could do, at its most unkind where the faults say so.
//! Never: wait.

use std::time::Duration;

use super::net::Answer;
use super::{Conn, Due, Fake, Phase};
use crate::base::{Key, Time};
use crate::io::socket::{Kind, Socket};
use crate::io::{EndReason, Event, RecvMode, Token};

/// Reads of one connection in one turn.
const READS_MAX: usize = 4;
/// Time until a connection hit by a fault is looked at again.
const AGAIN: Duration = Duration::from_micros(10);

impl Fake {
    /// Looks at every connection on the list once.
    pub(super) fn serve_ready(&mut self, events: &mut Vec<Event>) {
        let count = self.ready.len();
        let reorder = self.net.borrow().faults.reorder;
        if reorder && count > 1 {
            for at in 1..count {
                let with = self.net.borrow_mut().rng.below(at + 1);
                self.ready.swap(at, with);
            }
        }
        for _ in 0..count {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.queued = false;
            self.flush(key, events);
            self.advance_close(key);
            self.receive(key, events);
            self.advance_leave(key, events);
        }
        self.out.end_turn();
    }

    fn flush(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let queued = conn.out.bytes();
        if queued == 0 {
            return;
        }
        let link = conn.link.filter(|_| conn.is_connected());
        let mut net = self.net.borrow_mut();
        let short = net.faults.short_sends && net.rng.percent(30);
        let cut = if short { net.rng.below(queued) } else { 0 };
        let now = net.now;
        let Some(link) = link.and_then(|link| net.links.get_mut(link)) else {
            conn.blocked = true;
            self.out.spill(&mut conn.out);
            return;
        };
        if link.peer_gone {
            drop(net);
            return self.fail_send(key, events);
        }
        let room = link.outbound_max.saturating_sub(link.outbound.len());
        // A short send takes at least one byte, so that it comes to an end.
        let limit = room.min(if short { cut + 1 } else { queued });
        let mut left = limit;
        for piece in self.out.front(&conn.out, usize::MAX) {
            let taken = piece.get(..left).unwrap_or(piece);
            link.outbound.extend(taken);
            left -= taken.len();
            if left == 0 {
                break;
            }
        }
        drop(net);
        self.out.consume(&mut conn.out, limit);
        if conn.out.bytes() > 0 {
            conn.blocked = true;
            self.out.spill(&mut conn.out);
            if limit < room {
                self.timers.add(now + AGAIN, Due::Look(key));
            }
        } else if std::mem::take(&mut conn.blocked) && conn.phase == Phase::Open {
            events.push(Event::Drained { token: conn.token });
        }
    }

    /// A send found the connection gone.
    fn fail_send(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.broken = true;
        conn.blocked = false;
        self.out.clear(&mut conn.out);
        if conn.wanted() == RecvMode::Paused {
            self.end(key, EndReason::Reset, events);
        }
        // After `Ended`, this is the only sign that nothing waits any more.
        if let Some(conn) = self.conns.get(key)
            && conn.ended
            && conn.phase == Phase::Open
        {
            events.push(Event::Drained { token: conn.token });
        }
    }

    fn receive(&mut self, key: Key, events: &mut Vec<Event>) {
        for _ in 0..READS_MAX {
            if !self.receive_once(key, events) {
                return;
            }
        }
        self.mark_ready(key);
    }

    /// Receives once; whether there may be more.
    fn receive_once(&mut self, key: Key, events: &mut Vec<Event>) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let wanted = conn.wanted();
        if wanted == RecvMode::Paused || conn.queued_starved {
            return false;
        }
        let mut net = self.net.borrow_mut();
        let now = net.now;
        let (cut, percent) = (net.faults.cut_reads, net.faults.starve_percent);
        let (cut, starve) = (cut.then(|| net.rng.next()), net.rng.percent(percent));
        let Some(link) = conn.link.and_then(|link| net.links.get_mut(link)) else { return false };
        let visible = link.inbound.visible(now);
        if visible == 0 {
            let over = link.inbound.is_over(now);
            let gone = link.peer_reset || conn.broken;
            drop(net);
            if over || conn.broken {
                let reason = if gone { EndReason::Reset } else { EndReason::Eof };
                self.end(key, reason, events);
            }
            return false;
        }
        if starve {
            self.starvations += 1;
            self.timers.add(now + AGAIN, Due::Look(key));
            return false;
        }
        let large = (wanted == RecvMode::Large).then(|| self.pool.take_large()).flatten();
        let Some(mut chunk) = large.or_else(|| self.pool.take_small()) else {
            self.starvations += 1;
            conn.queued_starved = true;
            self.starved.push_back(key);
            return false;
        };
        if let Some(cut) = cut {
            chunk.truncate(cut_length(cut, visible));
        }
        let count = link.inbound.read(&mut chunk, now);
        drop(net);
        chunk.truncate(count);
        if conn.phase == Phase::Open {
            conn.leaving.disturb();
            events.push(Event::Received { token: conn.token, chunk });
        }
        // Also when all was read: the end may be next.
        true
    }

    pub(super) fn end(&mut self, key: Key, reason: EndReason, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.ended {
            return;
        }
        conn.ended = true;
        conn.leaving.disturb();
        if conn.is_open() {
            conn.phase = Phase::Open;
            events.push(Event::Ended { token: conn.token, reason });
        }
        self.mark_ready(key);
    }

    fn advance_close(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Flush && (conn.broken || conn.out.bytes() == 0) {
            conn.phase = Phase::Drain;
            let mut net = self.net.borrow_mut();
            if let Some(link) = conn.link.and_then(|link| net.links.get_mut(link)) {
                link.driver_fin = true;
            }
        }
        if conn.phase == Phase::Drain && (conn.ended || conn.broken) {
            self.remove(key);
        }
    }

    /// Lets a connection go that is to leave, once what was queued has left.
    fn advance_leave(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_still = conn.phase == Phase::Open && conn.out.bytes() == 0;
        let is_over = conn.ended || conn.broken;
        let Some(is_undisturbed) = conn.leaving.take(is_still, is_over) else { return };
        let token = conn.token;
        let link = conn.link.filter(|_| is_undisturbed);
        let loose = link.and_then(|link| self.net.borrow_mut().let_loose(link));
        if loose.is_some() {
            self.conns.remove(key);
        }
        let socket = loose.map(|loose| Socket(Kind::Fake(loose)));
        events.push(Event::Detached { token, socket });
    }

    /// Closes at once.
    pub(super) fn remove(&mut self, key: Key) {
        let Some(mut conn) = self.conns.remove(key) else { return };
        self.out.clear(&mut conn.out);
        if let Some(timer) = conn.timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(link) = conn.link {
            self.net.borrow_mut().driver_close(link);
        }
    }

    /// Whether starved connections could go on at once.
    pub(super) fn has_relief(&self) -> bool {
        let low_water = (self.pool.small_count() / 8).max(1);
        !self.starved.is_empty() && self.pool.small_free() >= low_water
    }

    pub(super) fn revive_starved(&mut self) {
        if !self.has_relief() {
            return;
        }
        for _ in 0..self.pool.small_free().min(self.starved.len()) {
            let Some(key) = self.starved.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.queued_starved = false;
            self.mark_ready(key);
        }
    }

    pub(super) fn run_timers(&mut self, events: &mut Vec<Event>) {
        let now: Time = self.net.borrow().now;
        while let Some(due) = self.timers.pop_due(now) {
            match due {
                Due::Look(key) => self.mark_ready(key),
                Due::Dialled(address) => self.accept(address, events),
                Due::Answer(key, answer) => self.on_answer(key, answer, events),
                Due::Limit(key) => {
                    let Some(conn) = self.conns.get_mut(key) else { continue };
                    conn.timer = None;
                    if conn.is_open() {
                        self.out.clear(&mut conn.out);
                        self.end(key, EndReason::ConnectTimeout, events);
                    } else {
                        self.remove(key);
                    }
                }
            }
        }
    }

    fn accept(&mut self, address: std::net::SocketAddr, events: &mut Vec<Event>) {
        let listening = self.listeners.iter().find(|(own, _)| *own == address);
        let Some((_, listener)) = listening.copied() else { return };
        let Some(link) = self.net.borrow_mut().next_dialled(address) else { return };
        let conn = self.insert(Conn::new(Some(link), Phase::Open, Token(0)));
        self.attach(link, conn);
        events.push(Event::Accepted { listener, conn });
    }

    fn on_answer(&mut self, key: Key, answer: Answer, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.ended) else {
            if let Answer::Link(link) = answer {
                self.net.borrow_mut().driver_close(link);
            }
            return;
        };
        let Answer::Link(link) = answer else {
            self.out.clear(&mut conn.out);
            return self.end(key, EndReason::Refused, events);
        };
        conn.link = Some(link);
        if conn.phase == Phase::ConnectingFlush {
            conn.phase = Phase::Flush;
        } else {
            conn.phase = Phase::Open;
            if let Some(timer) = conn.timer.take() {
                self.timers.cancel(timer);
            }
            events.push(Event::Connected { token: conn.token });
        }
        self.attach(link, key);
    }

    /// Tells a link whose it is. What the peer did before has announced itself to nobody.
    pub(super) fn attach(&mut self, link: Key, conn: Key) {
        if let Some(link) = self.net.borrow_mut().links.get_mut(link) {
            link.conn = Some((self.place, conn));
            self.timers.add(link.inbound.last, Due::Look(conn));
        }
        self.mark_ready(conn);
    }
}

/// Where a read is cut: often after a byte or two, where parsers are weakest.
fn cut_length(random: u64, visible: usize) -> usize {
    let bound = if random & 3 == 0 { visible.min(4) } else { visible };
    let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
    usize::try_from((random >> 2) % bound).unwrap_or(0) + 1
}
