//! What a worker keeps per session.
//!
//! Purpose: tie a session to its client's and its backend's connection.
//! Never: hold bytes; those are in the driver or nowhere. (A transport holds what is not decoded.)

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Address, BackendId, EndpointId, Key, Time};
use crate::bus::{Client, Connection, Promise};
use crate::io::{ConnId, Driver, RecvMode};
use crate::pool::{
    BackendChange, BackendLogin, Identity, InitQuery, Lease, Opening, Ping, PoolKey, Recycle,
};
use crate::session::Session;
use crate::share::{Exchange, Lent};
use crate::sql::Server;
use crate::wire::Side;
use crate::wire::proxy::Origin;
use crate::worker::causal::Wanted;
use crate::worker::hold::Held;
use crate::worker::queue::Waiting;
use crate::worker::seat::Seats;
use crate::worker::transport::Transport;

/// A session and its connections.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Session,
    pub(super) endpoint: EndpointId,
    /// When its client was accepted.
    pub(super) accepted: Time,
    pub(super) client: Link,
    /// The client's address, as it was counted in.
    pub(super) address: Option<IpAddr>,
    /// What a balancer's PROXY header said, where one had to come.
    pub(super) header: Option<Box<Origin>>,
    pub(super) backend: Option<Box<BackendLink>>,
    /// Until it may connect to its backend.
    pub(super) waiting: Option<Box<Waiting>>,
    /// What its command has to see, until it has a connection.
    pub(super) wanted: Option<Box<Wanted>>,
    /// Until a rule lets its command go on.
    pub(super) held: Option<Box<Held>>,
    /// The users it counts for.
    pub(super) seats: Seats,
    /// Whose connections it shares between its commands, once it is logged in.
    pub(super) shares: Option<PoolKey>,
    /// The server that has just failed it.
    pub(super) avoids: Option<BackendId>,
    /// Position in the worker's list of logins in progress.
    pub(super) login_slot: Option<usize>,
}

/// One connection of a session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    /// How it receives while nothing holds it back.
    pub(super) mode: RecvMode,
    /// The sides whose send queue stopped receiving here; empty, receiving goes on.
    pub(super) held_by: HeldBy,
    /// Full small buffers received in a row.
    pub(super) full_in_a_row: u8,
    /// What lies between its socket and packets; nothing on a plain connection.
    pub(super) transport: Option<Box<Transport>>,
}

/// Why a connection is not read: send queues that are too long, and input that is not decoded yet.
/// Each queue ends with the driver's word that it is empty, and no sooner: what a queue holds in
/// between says nothing, for new bytes may be in it that no word follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldBy {
    client: bool,
    backend: bool,
    input: bool,
    /// It has sent enough ahead of its backend connection.
    ahead: bool,
}

impl HeldBy {
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(super) const fn is_by_queue(self) -> bool {
        self.client || self.backend
    }

    pub(super) const fn is_by_input(self) -> bool {
        self.input
    }

    pub(super) const fn set_input(&mut self, held: bool) {
        self.input = held;
    }

    pub(super) const fn is_ahead(self) -> bool {
        self.ahead
    }

    pub(super) const fn set_ahead(&mut self, held: bool) {
        self.ahead = held;
    }

    pub(super) const fn set(&mut self, side: Side, held: bool) {
        match side {
            Side::Client => self.client = held,
            Side::Backend => self.backend = held,
        }
    }
}

/// The backend's side of a session.
#[derive(Debug)]
pub(super) struct BackendLink {
    /// Its place among the worker's backend connections, whose key is in its driver's token.
    pub(super) slot: Key,
    pub(super) link: Link,
    pub(super) id: BackendId,
    /// As it was when it was connected: a reload may remove or move the backend.
    pub(super) name: Arc<str>,
    pub(super) address: Address,
    /// The same as text, for the directory.
    pub(super) named: Arc<str>,
    /// Which server that is, once it has said so.
    pub(super) server: Server,
    /// Whom it may serve after its client; `None` for nobody.
    pub(super) pool: Option<PoolKey>,
    /// What is said on it first, and after each reset.
    pub(super) init: Option<Arc<str>>,
    /// What its server reported of that, where sessions share it: trackers.
    pub(super) initial: BytesMut,
    /// Its account may only read.
    pub(super) read_only: bool,
    /// What it was right after its login, if that matters.
    pub(super) identity: Option<Identity>,
    /// The roles that were active then, if it changes hands between two commands.
    pub(super) roles: Option<Vec<u8>>,
    /// When connecting began.
    pub(super) since: Time,
    /// That it is Weir's, once its thread is known.
    pub(super) listed: Option<Connection>,
    /// When it was lent to its session.
    pub(super) lent_at: Time,
    pub(super) connected: bool,
    /// It begins with a PROXY header, sent when it is connected.
    pub(super) names_client: bool,
    pub(super) stage: Stage,
}

/// Who has a backend connection. The key it is kept under is the connection's name in events for as
/// long as it lives.
#[derive(Debug)]
pub(super) enum Holder {
    /// A session, which it is lent to.
    Session(Key),
    /// Nobody: it is made ahead of need.
    Making(Box<BackendLink>),
    /// Nobody: it is being made as good as new.
    Recycling(Box<Recycle>, Box<BackendLink>),
    /// Nobody: the same, of a connection that changes hands between two commands.
    Restoring(Restoring, Box<BackendLink>),
    /// Nobody: it waits for the next client.
    Idle(Box<Parked>),
    /// The same, but its server is asked first whether it is still there.
    Pinging(Ping, Box<Parked>),
    /// Nobody: it goes to another worker, where a session waits.
    Leaving(Box<Leaving>),
    /// Nobody: it was told to end, and keeps its permit until its server has ended it.
    Quitting(Box<BackendLink>),
}

/// How far a connection is on its way to being as good as new, that changes hands between two
/// commands.
#[derive(Debug)]
pub(super) enum Restoring {
    /// It was reset, and its `init_query` is said again.
    Init(Box<InitQuery>),
    /// It is asked what it is set to.
    Greeting(Box<Exchange>),
}

/// A backend connection that is as good as new.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) backend: Box<BackendLink>,
    /// Payload of the OK that the next client gets.
    pub(super) ok: BytesMut,
    /// What it is set to, if it changes hands between two commands.
    pub(super) lent: Option<Box<Lent>>,
    /// When it was used last.
    pub(super) used: Time,
}

/// A backend connection that this worker has given up, until its driver has.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) parked: Box<Parked>,
    /// Whom it is for.
    pub(super) promise: Promise,
}

/// How far a backend connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Connecting or logging in, to be over by then.
    Login(Box<BackendLogin>, Time),
    /// Logged in, and told its `init_query`.
    Init(Box<InitQuery>, Box<Fresh>, Time),
    /// Logged in, and being told or asked what comes before the client; the OK is for that one.
    Opening(Box<Opening>, Lease, BytesMut, Time),
    /// Logged in, and asked what it is set to; the OK is for whoever logs in next.
    Greeting(Box<Exchange>, Lease, BytesMut, Time),
    /// Lent to the session.
    Leased(Lease),
    /// Changing its account, to be lent again.
    Changing(Box<BackendChange>, Lease),
}

/// What a server said at a login.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) lease: Lease,
    /// Payload of its OK.
    pub(super) ok: BytesMut,
    pub(super) version: Vec<u8>,
}

impl BackendLink {
    /// Backends have new ids.
    pub(super) fn rename(&mut self, ids: &HashMap<&str, BackendId>) {
        self.id = ids.get(&*self.name).copied().unwrap_or(BackendId::REMOVED);
        if let Stage::Leased(lease) | Stage::Changing(_, lease) = &mut self.stage {
            lease.backend = self.id;
        }
    }

    /// What is lent, once there is something.
    pub(super) const fn lease(&self) -> Option<&Lease> {
        match &self.stage {
            Stage::Leased(lease) | Stage::Changing(_, lease) => Some(lease),
            Stage::Login(..) | Stage::Init(..) | Stage::Opening(..) | Stage::Greeting(..) => None,
        }
    }

    pub(super) const fn is_logging_in(&self) -> bool {
        self.lease().is_none()
    }
}

impl Link {
    pub(super) fn new(conn: ConnId) -> Self {
        Self {
            conn,
            mode: RecvMode::Small,
            held_by: HeldBy::default(),
            full_in_a_row: 0,
            transport: None,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.is_encrypted())
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.is_compressed())
    }
}

impl Entry {
    /// Whether the client has yet to prove who it is.
    pub(super) fn is_shaking_hands(&self) -> bool {
        self.session.is_logging_in() && self.backend.is_none() && self.waiting.is_none()
    }

    /// Whose failed handshake it is when the session ends now. Nobody's once the client has proven
    /// who it is, or where a balancer speaks for itself: blocking it would block all behind it.
    pub(super) fn culprit(&self) -> Option<IpAddr> {
        let by_itself = matches!(self.header.as_deref(), Some(Origin::Itself | Origin::Unix));
        self.address.filter(|_| self.is_shaking_hands() && !by_itself)
    }

    /// Whose session it is, for others to see. Once it is logged in.
    pub(super) fn described(&self, driver: &impl Driver) -> Client {
        let peer = || driver.peer_address(self.client.conn);
        let address = match self.header.as_deref() {
            Some(Origin::Tcp { source, .. }) => Some(*source),
            Some(Origin::Unix) => None,
            Some(Origin::Itself) | None => peer(),
        };
        let user = self.seats.user().unwrap_or_default().into();
        Client { user, address, endpoint: self.endpoint }
    }

    /// Neither connection has a transport.
    pub(super) fn is_plain(&self) -> bool {
        let backend = self.backend.as_ref();
        self.client.transport.is_none()
            && backend.is_none_or(|backend| backend.link.transport.is_none())
    }

    pub(super) fn link(&self, side: Side) -> Option<&Link> {
        match side {
            Side::Client => Some(&self.client),
            Side::Backend => self.backend.as_ref().map(|backend| &backend.link),
        }
    }

    pub(super) fn link_mut(&mut self, side: Side) -> Option<&mut Link> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Backend => self.backend.as_mut().map(|backend| &mut backend.link),
        }
    }
}
