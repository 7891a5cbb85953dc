//! Weir on its real drivers, between a scripted server and raw clients.
//!
//! Purpose: bad input and bad luck from either side: each ends one session, clearly and counted,
//! and no other.
//! Never: need a real server (that is `real`) or a package.
//!
//! Every case runs on both drivers, as `uring::…` and `epoll::…`; cases are functions of the
//! driver's name.

/// Makes two tests of each case.
#[cfg(test)]
macro_rules! on_both_drivers {
    ($($case:ident),+ $(,)?) => {
        mod uring {
            $(#[test] fn $case() { super::$case("io_uring"); })+
        }
        mod epoll {
            $(#[test] fn $case() { super::$case("epoll"); })+
        }
    };
}

#[cfg(test)]
mod admin;
#[cfg(test)]
mod backend;
#[cfg(test)]
mod bomb;
#[cfg(test)]
mod capabilities;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod log;
#[cfg(test)]
mod login;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod pooling;
#[cfg(test)]
mod processlist;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod start;
#[cfg(test)]
mod told;
#[cfg(test)]
mod transport;
#[cfg(test)]
mod users;
