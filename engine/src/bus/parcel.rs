//! Backend connections on their way from one worker to another.
//!
//! Purpose: a session that waits gets a connection that lies idle at another worker, with its permit.
//! Never: lose a permit, or leave a promise standing that nobody will keep, whatever ends on the way.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::base::{Address, Ticket};
use crate::bus::{Desk, Shared};
use crate::io::Socket;
use crate::pool::PoolKey;
use crate::share::Settings;

/// What a session that waits would be served by, besides a new connection.
#[derive(Clone, Debug)]
pub struct Wish {
    /// A connection of this pool,
    pub pool: PoolKey,
    /// that can be set to this.
    pub settings: Arc<Settings>,
}

/// That a session which waits gets a connection or a permit from one worker. While it stands, no
/// other is asked for one. It is kept with a [`Parcel`], or given up:
/// [`Permits::withdraw`](crate::bus::Permits::withdraw), [`Permits::seek`](crate::bus::Permits::seek).
#[derive(Debug)]
pub struct Promise {
    pub(super) server: Address,
    pub(super) desk: Arc<Desk>,
    pub(super) ticket: Ticket,
    pub(super) wish: Option<Wish>,
}

impl Promise {
    /// Which server's connection it is about.
    #[must_use]
    pub const fn server(&self) -> &Address {
        &self.server
    }

    /// What the session would be served by.
    #[must_use]
    pub const fn wish(&self) -> Option<&Wish> {
        self.wish.as_ref()
    }

    /// Whether the session is of the worker of that desk.
    #[must_use]
    pub fn is_at(&self, desk: &Arc<Desk>) -> bool {
        Arc::ptr_eq(&self.desk, desk)
    }
}

/// A connection for the session it was promised to. Its permit goes with it, and is given back if
/// nobody opens it.
pub struct Parcel {
    /// Until it is opened.
    contents: Option<Contents>,
    shared: Arc<Shared>,
}

/// What was in a [`Parcel`].
pub struct Contents {
    /// The connection itself.
    pub socket: Socket,
    /// What workers know of it. The bus does not look.
    pub cargo: Box<dyn Any + Send>,
    /// Whom it is for.
    pub promise: Promise,
}

impl Parcel {
    /// Packs a connection that has a permit.
    #[must_use]
    pub fn new(shared: &Arc<Shared>, contents: Contents) -> Self {
        Self { contents: Some(contents), shared: Arc::clone(shared) }
    }

    /// Brings it to the worker it is for, and wakes that one.
    pub fn send(self) {
        let desk = self.contents.as_ref().map(|contents| Arc::clone(&contents.promise.desk));
        if let Some(desk) = desk {
            desk.receive(self);
        }
    }

    /// The permit is the caller's now.
    #[must_use]
    pub fn open(mut self) -> Option<Contents> {
        self.contents.take()
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(Contents { socket, cargo, promise }) = self.contents.take() {
            let server = promise.server.clone();
            drop((socket, cargo));
            self.shared.permits.withdraw(promise);
            self.shared.permits.give_back(&server);
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parcel")
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Key;
    use crate::bus::Permit;
    use crate::config::{self, Config, Offline};
    use crate::io::{BufferSizes, Driver, Event, Fake, Faults, RecvMode, Token};

    fn config() -> Config {
        let mut config = config::parse(&config::sample(), &Offline).unwrap();
        config.backends.truncate(1);
        config.backends[0].connections_max = 1;
        config
    }

    /// A connection that is nobody's.
    fn socket() -> Socket {
        let (mut driver, net) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        let address = ([127, 0, 0, 1], 1).into();
        net.serve(address);
        let conn = driver.connect(&address.into(), Token(1), crate::base::Time::NEVER);
        driver.set_recv(conn, RecvMode::Small);
        let mut events = Vec::new();
        driver.turn(crate::base::Time::NEVER, &mut events).unwrap();
        driver.detach(conn);
        events.clear();
        driver.turn(crate::base::Time::NEVER, &mut events).unwrap();
        let Some(Event::Detached { socket: Some(socket), .. }) = events.pop() else {
            unreachable!("{events:?}");
        };
        socket
    }

    #[test]
    fn a_parcel_that_nobody_opens_gives_its_permit_back() {
        let shared = Arc::new(Shared::default());
        let (config, key) = (config(), |index| Key { index, generation: 0 });
        shared.permits.adopt(&config);
        let address = &config.backends[0].address;
        let pool = PoolKey::example(address, "a");
        let (driver, _) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        let [here, there] = [(); 2].map(|()| Arc::new(Desk::new(driver.waker())));
        let ask = |index, desk| shared.permits.ask(address, desk, key(index), None, usize::MAX);
        assert_eq!(ask(0, &here), Permit::Granted);
        let mut waiting = Vec::new();
        // One is opened, one is left lying, one comes too late.
        for index in 1..4 {
            let Permit::Waits(ticket) = ask(index, &there) else { unreachable!() };
            waiting.push(ticket);
            let promise = shared.permits.keep_idle(&pool, &here).unwrap_err().unwrap();
            let cargo = Box::new(index);
            let contents = Contents { socket: socket(), cargo, promise };
            Parcel::new(&shared, contents).send();
            match index {
                1 => {
                    let contents = there.take_parcels().pop().unwrap().open().unwrap();
                    assert_eq!(contents.cargo.downcast_ref::<u32>(), Some(&1));
                    shared.permits.leave(address, ticket);
                    assert_eq!(there.take_called(), [], "its permit is the opener's");
                    continue;
                }
                2 => there.close(),
                _ => {}
            }
            assert_eq!(there.take_called(), [(address.clone(), key(index))]);
            assert_eq!(shared.permits.used(address), 1);
        }
    }
}
