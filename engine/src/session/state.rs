//! The session as its worker sees it.
//!
//! Purpose: the verbs of the machine: `on_*` feed it, `next_action` drains it, `deadline` says when
//! to call again.
//! Never: hold more than a few hundred bytes once the login is over and nothing is asked.

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

use crate::auth::Sealed;
use crate::base::{Blame, ConnectionId, Fault, Time};
use crate::session::change::ChangeRequest;
use crate::session::header::Header;
use crate::session::ledger::Ledger;
use crate::session::login::{LeaseRequest, Login, LoginContext, Verdict};
use crate::session::parting::Parting;
use crate::session::processlist::Threads;
use crate::session::relay::Relay;
use crate::session::ruled::Hold;
use crate::session::text::Thread;
use crate::wire::compress::Algorithm;
use crate::wire::proxy::Origin;
use crate::wire::{Capabilities, Edits, ErrPacket, Side, code, fault};

/// What a session wants its worker to do.
#[derive(Debug)]
pub enum Action {
    /// Greet the client that its balancer has named, or end the session: [`Session::on_named`].
    Name(Origin),
    /// Go on in TLS with the client, which has sent these bytes of it already. What the worker feeds
    /// from then on comes out of TLS, and what the session sends goes into it.
    StartTls(BytesMut),
    /// Open a password that the client sealed, on a thread that may take its time:
    /// [`Session::on_opened`].
    Open(Box<Sealed>),
    /// Lend it a backend connection, logged in as the client's account.
    Lease(Box<LeaseRequest>),
    /// Say where the connections of [`Session::threads_asked_for`] are: [`Session::on_threads`].
    FindThreads,
    /// Say whose the threads of its server are: [`Session::on_list`].
    ListThreads,
    /// Give it a nonce and the rules of the moment, to learn anew who the client is:
    /// [`Session::on_identity`].
    Identify,
    /// Change the account on its backend connection: [`Session::on_user_changed`] or
    /// [`Session::on_user_refused`].
    ChangeUser(Box<ChangeRequest>),
    /// Lend it a connection, of those that it shares with others: [`Session::on_attached`], or
    /// [`Session::deny_backend`]. What it left of its input is to be fed again then.
    Acquire,
    /// Keep what its client sends, as for [`Self::Acquire`], until a rule lets its command go on:
    /// [`Session::admit`], or [`Session::deny_backend`], or nothing, if only time was to pass.
    Hold(Hold),
    /// Take the connection back: [`Session::release`].
    Release,
    /// Feed it what its client sent ahead: [`Session::take_ahead`].
    Resume,
    /// Send what is queued on both sides, then close both.
    Close,
}

/// What bytes came to, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands the client began.
    pub commands: u32,
    /// Replies completed.
    pub replies: u32,
    /// Replies that ended in an ERR of the backend.
    pub errors: u32,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    id: ConnectionId,
    pub(super) phase: Phase,
    action: Option<Action>,
    compression: Option<Algorithm>,
    leaves_backend_clean: bool,
    /// Of a session that is over.
    pub(super) pins_left: u32,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "sessions spend their lives in the large one")]
pub(super) enum Phase {
    /// Boxed: few clients come through a balancer that names them.
    Header(Box<Header>),
    /// Boxed: it holds names, secrets and buffers that a session does not need afterwards.
    Login(Box<Login>),
    Relay(Relay),
    /// Boxed: it is rare.
    Parting(Box<Parting>),
    Over,
}

impl Session {
    /// A session that greets its client.
    #[must_use]
    pub fn new(context: LoginContext, edits: &mut Edits) -> Self {
        let id = context.id;
        let login = Login::greet(context, edits);
        let phase = Phase::Login(Box::new(login));
        Self::in_phase(id, phase)
    }

    /// A session whose client has to be named by a PROXY header, before the deadline.
    #[must_use]
    pub fn unnamed(id: ConnectionId, deadline: Time) -> Self {
        let phase = Phase::Header(Box::new(Header::new(deadline)));
        Self::in_phase(id, phase)
    }

    const fn in_phase(id: ConnectionId, phase: Phase) -> Self {
        Self {
            id,
            phase,
            action: None,
            compression: None,
            leaves_backend_clean: false,
            pins_left: 0,
        }
    }

    /// The connection id the client was told.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// When the session has to be ended if its login, a change of account or its parting is not over
    /// by then.
    #[must_use]
    pub fn deadline(&self) -> Time {
        match &self.phase {
            Phase::Header(header) => header.deadline(),
            Phase::Login(login) => login.deadline(),
            Phase::Relay(relay) => relay.deadline(),
            Phase::Parting(parting) => parting.deadline(),
            Phase::Over => Time::NEVER,
        }
    }

    /// Whether the login is not over yet.
    #[must_use]
    pub const fn is_logging_in(&self) -> bool {
        matches!(self.phase, Phase::Login(_) | Phase::Header(_))
    }

    /// Whether nobody has named its client yet.
    #[must_use]
    pub fn awaits_header(&self) -> bool {
        matches!(&self.phase, Phase::Header(header) if header.is_awaited())
    }

    /// Whether a PROXY header has begun to come.
    #[must_use]
    pub fn is_inside_header(&self) -> bool {
        matches!(&self.phase, Phase::Header(header) if header.is_partial())
    }

    /// Its client is told of a failure as soon as it listens; it needs no backend any more.
    #[must_use]
    pub const fn is_parting(&self) -> bool {
        matches!(self.phase, Phase::Parting(_))
    }

    /// Nothing asked, nothing open: closing it now loses nothing.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        match &self.phase {
            Phase::Header(_) | Phase::Login(_) => false,
            Phase::Relay(relay) => relay.is_at_rest(),
            Phase::Parting(_) => false,
            Phase::Over => true,
        }
    }

    /// It is over, and its backend connection can be used again once it was reset.
    #[must_use]
    pub const fn leaves_backend_clean(&self) -> bool {
        self.leaves_backend_clean
    }

    /// Whether a reply of the backend is on its way to the client.
    #[must_use]
    pub fn awaits_reply(&self) -> bool {
        match &self.phase {
            Phase::Relay(relay) => relay.awaits_reply(),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => false,
        }
    }

    /// Bytes known to follow in the frame that now comes from `side`.
    #[must_use]
    pub const fn bytes_ahead(&self, side: Side) -> usize {
        match &self.phase {
            Phase::Relay(relay) => relay.bytes_ahead(side),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => 0,
        }
    }

    /// Whether there is a [`Self::next_action`].
    #[inline]
    #[must_use]
    pub const fn has_action(&self) -> bool {
        self.action.is_some()
    }

    /// What the session wants next; one action per feed.
    pub fn next_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// How packets to and from the client are compressed once it was told that it is logged in.
    #[must_use]
    pub const fn compression(&self) -> Option<Algorithm> {
        self.compression
    }

    /// The TLS of [`Action::StartTls`] is there. `accounts`: the only ones that the client may log
    /// in as, for it has shown a certificate that names them.
    pub fn on_tls(&mut self, accounts: Option<Vec<String>>) {
        if let Phase::Login(login) = &mut self.phase {
            login.on_tls(accounts);
        }
    }

    /// Feeds bytes of the client.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_client(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Tally, Fault> {
        match &mut self.phase {
            Phase::Relay(relay) => {
                let tally = relay.on_client(input, edits, ledger)?;
                self.close_when_done();
                Ok(tally)
            }
            Phase::Login(login) => {
                edits.discard(input.len());
                let verdict = login.on_bytes(input, edits);
                // A password may be in there.
                input.zeroize();
                self.action = action_of(verdict?);
                Ok(Tally::default())
            }
            Phase::Header(header) => {
                edits.discard(input.len());
                if let Some(origin) = header.on_bytes(input)? {
                    self.action = Some(Action::Name(origin));
                }
                Ok(Tally::default())
            }
            Phase::Parting(parting) => {
                if parting.on_client(input, edits) {
                    self.close();
                }
                Ok(Tally::default())
            }
            Phase::Over => {
                edits.discard(input.len());
                Ok(Tally::default())
            }
        }
    }

    /// The client of [`Action::Name`] may come in: greets it. Returns what it sent behind the
    /// header; feed it to [`Session::on_client`].
    pub fn on_named(&mut self, context: LoginContext, edits: &mut Edits) -> BytesMut {
        let rest = match &mut self.phase {
            Phase::Header(header) => header.take_rest(),
            Phase::Login(_) | Phase::Relay(_) | Phase::Parting(_) | Phase::Over => BytesMut::new(),
        };
        self.phase = Phase::Login(Box::new(Login::greet(context, edits)));
        rest
    }

    /// Feeds bytes of the backend.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_backend(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Tally, Fault> {
        match &mut self.phase {
            Phase::Relay(relay) => {
                let tally = relay.on_backend(input, edits, ledger)?;
                self.close_when_done();
                Ok(tally)
            }
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => {
                edits.discard(input.len());
                Ok(Tally::default())
            }
        }
    }

    /// The password of [`Action::Open`], or that it could not be opened. What the client sent behind
    /// it is kept by the session.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_opened(&mut self, password: Option<&Zeroizing<Vec<u8>>>) -> Result<(), Fault> {
        match &mut self.phase {
            Phase::Login(login) => {
                self.action = action_of(login.on_opened(password)?);
                Ok(())
            }
            Phase::Relay(relay) => {
                relay.on_opened(password)?;
                self.close_when_done();
                Ok(())
            }
            // It went away meanwhile.
            Phase::Header(_) | Phase::Parting(_) | Phase::Over => Ok(()),
        }
    }

    /// The lease that was asked for is there: tells the client it is logged in.
    /// Returns what the client sent ahead of that; feed it to [`Session::on_client`]. With
    /// [`Session::compression`] it is compressed.
    ///
    /// # Errors
    /// The backend's OK does not parse, it can do less than the client was told, or there was no
    /// login. The session still has to be ended with [`Session::fail`].
    pub fn on_lease(
        &mut self,
        backend: Capabilities,
        ok: &[u8],
        edits: &mut Edits,
    ) -> Result<BytesMut, Fault> {
        let Phase::Login(login) = &mut self.phase else {
            return Err(fault(
                Blame::Bug,
                code::UNKNOWN_ERROR,
                "weir: a lease arrived outside a login",
            ));
        };
        let (dialect, status) = login.finish(backend, ok, edits)?;
        let early = login.take_early();
        self.compression = login.compression();
        let pipelined_max = login.pipelined_commands_max();
        let (is_mariadb, keeps) = (login.is_mariadb(), login.keeps_backend());
        let guard = login.take_guard();
        let relay = Relay::new(self.id, is_mariadb, keeps, dialect, status, pipelined_max);
        self.phase = Phase::Relay(relay.guarded_by(guard));
        Ok(early)
    }

    /// The connections an [`Action::FindThreads`] is about, by the ids clients know.
    #[must_use]
    pub fn threads_asked_for(&self) -> Vec<u32> {
        match &self.phase {
            Phase::Relay(relay) => relay.threads_asked_for(),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => Vec::new(),
        }
    }

    /// Where the connections of [`Self::threads_asked_for`] are, in its order. Returns what the client
    /// sent behind that command; feed it to [`Session::on_client`]. And a session without a backend
    /// connection that is to end, if it is one.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_threads(
        &mut self,
        threads: &[Thread],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(BytesMut, Option<u32>), Fault> {
        self.relay(|relay| relay.on_threads(threads, edits, ledger))
    }

    /// Whose the threads of its server are, after [`Action::ListThreads`]. Returns what the client
    /// sent behind that command, and what the backend did: feed both, in this order.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_list(
        &mut self,
        threads: &Threads,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(BytesMut, BytesMut), Fault> {
        self.relay(|relay| relay.on_list(threads, edits, ledger))
    }

    /// A fresh nonce, and the rules of the moment, after [`Action::Identify`].
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_identity(&mut self, context: LoginContext, edits: &mut Edits) -> Result<(), Fault> {
        self.relay(|relay| relay.on_identity(context, edits))
    }

    /// The backend did what [`Action::ChangeUser`] asked for; `ok` is its OK's payload. Returns what
    /// the client sent behind the command; feed it to [`Session::on_client`].
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_user_changed(
        &mut self,
        ok: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<BytesMut, Fault> {
        self.relay(|relay| relay.on_user_changed(ok, edits, ledger))
    }

    /// The backend refused it; `err` is its ERR's payload. As [`Session::on_user_changed`].
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_user_refused(
        &mut self,
        err: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<BytesMut, Fault> {
        self.relay(|relay| relay.on_user_refused(err, edits, ledger))
    }

    /// Something that only a session past its login asks for.
    fn relay<T>(&mut self, feed: impl FnOnce(&mut Relay) -> Result<T, Fault>) -> Result<T, Fault> {
        let Phase::Relay(relay) = &mut self.phase else {
            return Err(fault(
                Blame::Bug,
                code::UNKNOWN_ERROR,
                "weir: an answer arrived outside a session",
            ));
        };
        let fed = feed(relay)?;
        self.close_when_done();
        Ok(fed)
    }

    /// What ends the session if the backend wants a plugin that Weir does not speak, in place of that
    /// reason: of an account that only the backend knows nobody may learn whether it exists.
    #[must_use]
    pub fn denial(&self) -> Option<Fault> {
        let stake = match &self.phase {
            Phase::Login(login) => login.stake(),
            Phase::Relay(relay) => relay.stake(),
            Phase::Header(_) | Phase::Parting(_) | Phase::Over => None,
        };
        stake?.denied().cloned()
    }

    /// The backend refused the account: its ERR payload goes to the client, then the session ends.
    pub fn on_lease_refused(&mut self, err: &[u8], edits: &mut Edits) {
        if let Phase::Login(login) = &self.phase {
            login.pass_error(err, edits);
        }
        self.close();
    }

    /// The client sends no more.
    pub fn on_client_end(&mut self, edits: &mut Edits) {
        match &mut self.phase {
            Phase::Relay(relay) => {
                relay.on_client_end(edits);
                self.close_when_done();
            }
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => self.close(),
        }
    }

    /// The backend sends no more.
    ///
    /// # Errors
    /// The fault that ends the session, when the client still waited for something.
    pub fn on_backend_end(&mut self, backend_name: &str) -> Result<(), Fault> {
        if let Phase::Relay(relay) = &self.phase
            && relay.waits_for_backend()
        {
            return Err(fault(
                Blame::Backend,
                code::SERVER_SHUTDOWN,
                format!(
                    "weir: backend '{backend_name}' closed the connection before its reply was \
                     complete; connect again"
                ),
            ));
        }
        self.close();
        Ok(())
    }

    /// Ends the session with an error, told to the client where the protocol allows one now. Inside
    /// a file upload it does not: the client numbers what it reads by what it has sent, and that is
    /// known at the upload's end. Until then, or `parting_max`, the session is parting.
    pub fn fail(&mut self, fault: &Fault, parting_max: Time, edits: &mut Edits) {
        let seq = match &mut self.phase {
            Phase::Header(_) => {
                edits.send(Side::Client, |out| ErrPacket::from(fault).encode_as_greeting(out));
                None
            }
            Phase::Login(login) => Some(login.next_seq()),
            Phase::Relay(relay) if relay.is_uploading() => {
                self.part(fault.clone(), parting_max);
                return;
            }
            Phase::Relay(relay) => relay.interruption_seq(),
            Phase::Parting(_) | Phase::Over => None,
        };
        if let Some(seq) = seq {
            edits.send(Side::Client, |out| ErrPacket::from(fault).encode(seq, out));
        }
        self.close();
    }

    fn part(&mut self, fault: Fault, deadline: Time) {
        self.pins_left = self.pins();
        if let Phase::Relay(relay) = std::mem::replace(&mut self.phase, Phase::Over) {
            let parting = Parting::new(relay.into_request(), fault, deadline);
            self.phase = Phase::Parting(Box::new(parting));
        }
    }

    /// What a relay has come to: it is over, or a command waits for its worker.
    #[inline]
    pub(super) fn close_when_done(&mut self) {
        let Phase::Relay(relay) = &mut self.phase else { return };
        if relay.is_done() {
            self.leaves_backend_clean = relay.leaves_backend_clean();
            self.close();
        } else if relay.is_waiting() || relay.sharing.is_some() {
            self.action = relay.take_action();
        }
    }

    pub(super) fn close(&mut self) {
        self.pins_left = self.pins();
        self.phase = Phase::Over;
        self.action = Some(Action::Close);
    }
}

fn action_of(verdict: Verdict) -> Option<Action> {
    match verdict {
        Verdict::Wait => None,
        Verdict::StartTls(rest) => Some(Action::StartTls(rest)),
        Verdict::Open(sealed) => Some(Action::Open(sealed)),
        Verdict::Lease(request) => Some(Action::Lease(request)),
    }
}
