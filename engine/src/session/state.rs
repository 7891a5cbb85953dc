//! The session as its worker sees it.
//!
//! Purpose: the verbs of the machine: `on_*` feed it, `next_action` drains it, `deadline` says when
//! to call again.
//! Never: hold more than a few hundred bytes once the login is over and nothing is asked.

use bytes::BytesMut;

use crate::base::{Blame, ConnectionId, Fault, Time};
use crate::session::login::{LeaseRequest, Login, LoginContext, Verdict};
use crate::session::relay::Relay;
use crate::wire::{Capabilities, Edits, ErrPacket, Side, code, fault};

/// What a session wants its worker to do.
#[derive(Debug)]
pub enum Action {
    /// Lend it a backend connection, logged in as the client's account.
    Lease(Box<LeaseRequest>),
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
    phase: Phase,
    action: Option<Action>,
}

#[derive(Debug)]
enum Phase {
    /// Boxed: it holds names, secrets and buffers that a session does not need afterwards.
    Login(Box<Login>),
    Relay(Relay),
    Over,
}

impl Session {
    /// A session that greets its client.
    #[must_use]
    pub fn new(context: LoginContext, edits: &mut Edits) -> Self {
        let id = context.id;
        let login = Login::greet(context, edits);
        Self { id, phase: Phase::Login(Box::new(login)), action: None }
    }

    /// The connection id the client was told.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// When the session has to be ended if its login is not over by then.
    #[must_use]
    pub fn deadline(&self) -> Time {
        match &self.phase {
            Phase::Login(login) => login.deadline(),
            Phase::Relay(_) | Phase::Over => Time::NEVER,
        }
    }

    /// Whether the login is not over yet.
    #[must_use]
    pub const fn is_logging_in(&self) -> bool {
        matches!(self.phase, Phase::Login(_))
    }

    /// Nothing asked, nothing open: closing it now loses nothing.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        match &self.phase {
            Phase::Login(_) => false,
            Phase::Relay(relay) => relay.is_at_rest(),
            Phase::Over => true,
        }
    }

    /// Bytes known to follow in the frame that now comes from `side`.
    #[must_use]
    pub const fn bytes_ahead(&self, side: Side) -> usize {
        match &self.phase {
            Phase::Relay(relay) => relay.bytes_ahead(side),
            Phase::Login(_) | Phase::Over => 0,
        }
    }

    /// What the session wants next; one action per feed.
    pub fn next_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// Feeds bytes of the client.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_client(&mut self, input: &mut [u8], edits: &mut Edits) -> Result<Tally, Fault> {
        match &mut self.phase {
            Phase::Relay(relay) => {
                let tally = relay.on_client(input, edits)?;
                self.close_when_done();
                Ok(tally)
            }
            Phase::Login(login) => {
                edits.discard(input.len());
                match login.on_bytes(input, edits)? {
                    Verdict::Wait => {}
                    Verdict::Lease(request) => self.action = Some(Action::Lease(request)),
                }
                Ok(Tally::default())
            }
            Phase::Over => {
                edits.discard(input.len());
                Ok(Tally::default())
            }
        }
    }

    /// Feeds bytes of the backend.
    ///
    /// # Errors
    /// The fault that ends the session.
    pub fn on_backend(&mut self, input: &mut [u8], edits: &mut Edits) -> Result<Tally, Fault> {
        match &mut self.phase {
            Phase::Relay(relay) => {
                let tally = relay.on_backend(input, edits)?;
                self.close_when_done();
                Ok(tally)
            }
            Phase::Login(_) | Phase::Over => {
                edits.discard(input.len());
                Ok(Tally::default())
            }
        }
    }

    /// The lease that was asked for is there: tells the client it is logged in.
    /// Returns what the client sent ahead of that; feed it to [`Session::on_client`].
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
        let pipelined_max = login.pipelined_commands_max();
        self.phase = Phase::Relay(Relay::new(dialect, status, pipelined_max));
        Ok(early)
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
            Phase::Login(_) | Phase::Over => self.close(),
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

    /// Ends the session with an error, told to the client where the protocol allows one now.
    pub fn fail(&mut self, fault: &Fault, edits: &mut Edits) {
        let seq = match &self.phase {
            Phase::Login(login) => Some(login.next_seq()),
            Phase::Relay(relay) => relay.interruption_seq(),
            Phase::Over => None,
        };
        if let Some(seq) = seq {
            edits.send(Side::Client, |out| {
                ErrPacket {
                    code: fault.code,
                    sqlstate: fault.sqlstate,
                    message: fault.message.as_bytes(),
                }
                .encode(seq, out);
            });
        }
        self.close();
    }

    fn close_when_done(&mut self) {
        if let Phase::Relay(relay) = &self.phase
            && relay.is_done()
        {
            self.close();
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Over;
        self.action = Some(Action::Close);
    }
}
