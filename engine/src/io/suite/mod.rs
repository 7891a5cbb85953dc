//! One set of tests that every driver must pass.
//!
//! Purpose: the contract as code, run on the ring (with all features and with fewer), on epoll and on
//! the simulated network.
//! Never: depend on timing: waits end when the condition holds, and are bounded only to fail.

pub(super) mod basics;
pub(super) mod ends;
pub(super) mod flow;
pub(super) mod hand_over;
pub(super) mod load;
pub(super) mod real;
mod world;

use crate::base::Address;
use crate::io::{BufferSizes, Driver, Token};

pub(super) use world::{Policy, World};

/// The other side of the network: what peers of the driver under test can do.
pub(super) trait Harness: Sized {
    /// The driver under test.
    type Driver: Driver;

    /// A driver with these buffers, and a network around it.
    fn new(buffers: BufferSizes) -> Self;

    /// The driver.
    fn driver(&mut self) -> &mut Self::Driver;

    /// Puts another driver of the same kind and network in the place of the one under test, which
    /// waits for the next swap.
    fn swap(&mut self);

    /// Makes the driver listen; where.
    fn listen(&mut self, token: Token) -> Address;

    /// Connects a peer to the driver.
    fn dial(&mut self, address: &Address) -> Peer;

    /// Lets peers listen; where.
    fn serve(&mut self) -> Address;

    /// The peer at the other end of the driver's oldest connection to `address` not yet taken.
    fn accept(&mut self, address: &Address) -> Option<Peer>;

    /// Writes without waiting; how much was taken.
    fn write(&mut self, peer: Peer, bytes: &[u8]) -> usize;

    /// Reads without waiting.
    fn read(&mut self, peer: Peer, into: &mut [u8]) -> Read;

    /// Finishes sending.
    fn fin(&mut self, peer: Peer);

    /// Goes away with a reset.
    fn reset(&mut self, peer: Peer);

    /// Where nobody listens.
    fn refusing(&mut self) -> Address;

    /// Where a listener takes no more for now, and how many it has to accept first.
    fn crowded(&mut self) -> (Address, usize);

    /// Where nobody answers.
    fn black_hole(&mut self) -> Address;
}

/// A peer of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer(pub(super) usize);

/// What a peer's read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    Eof,
    Reset,
}

/// Bytes that differ at every position that matters.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// Makes a test function of each case for one harness.
macro_rules! run {
    ($harness:ty: $($module:ident { $($case:ident),* $(,)? })*) => {
        $($(
            #[test]
            fn $case() {
                crate::io::suite::$module::$case::<$harness>();
            }
        )*)*
    };
}

/// The whole suite for one harness, as a module's tests.
macro_rules! suite {
    ($harness:ty) => {
        crate::io::suite::run! { $harness:
            basics {
                echo, pieces_keep_their_order, many_pieces_in_one_turn, edited_in_place_and_split,
                tokens_can_change, the_peer_has_an_address, woken_from_another_thread,
                wakes_before_a_turn_count_once, a_turn_ends_at_its_deadline,
                sends_before_connected_go_out_after_it,
            }
            flow {
                much_data_in_small_buffers, much_data_in_large_buffers,
                a_slow_reader_blocks_and_drains, stalled_readers_hold_no_small_buffers,
                paused_receives_no_more_than_overshoot, every_change_of_mode,
                large_falls_back_to_small,
            }
            ends {
                eof_comes_after_the_data, after_eof_one_can_still_send, reset_is_reported,
                refused_is_reported, connecting_times_out, a_send_to_a_gone_peer_ends,
                close_now_with_everything_in_flight, close_is_final,
                flush_delivers_everything, flush_survives_unread_input,
                flush_gives_up_at_its_limit, stopping_to_listen_refuses_clients,
                closing_while_connecting,
            }
            hand_over {
                a_connection_changes_drivers, what_has_left_is_all_that_was_queued,
                what_arrives_keeps_a_connection_here, what_arrives_on_the_way_closes_it,
                nobody_takes_it, closing_while_leaving,
            }
            load {
                a_tiny_pool_starves_and_recovers, a_thousand_connections,
                slots_are_reused, busy_peers_share,
            }
        }
    };
}

/// What also holds for unix sockets. They have no addresses, no reset but for unread bytes, and
/// connects that are made or fail at once.
macro_rules! unix_suite {
    ($harness:ty) => {
        crate::io::suite::run! { $harness:
            basics {
                echo, pieces_keep_their_order, many_pieces_in_one_turn, edited_in_place_and_split,
                tokens_can_change, sends_before_connected_go_out_after_it,
                a_unix_peer_has_no_address,
            }
            flow {
                much_data_in_small_buffers, much_data_in_large_buffers,
                a_slow_reader_blocks_and_drains, stalled_readers_hold_no_small_buffers,
                every_change_of_mode,
            }
            ends {
                eof_comes_after_the_data, after_eof_one_can_still_send, refused_is_reported,
                close_is_final, flush_delivers_everything, flush_survives_unread_input,
                flush_gives_up_at_its_limit, stopping_to_listen_refuses_clients,
                a_missing_file_is_reported, a_full_backlog_is_waited_for,
            }
            hand_over {
                a_connection_changes_drivers, what_has_left_is_all_that_was_queued,
                what_arrives_keeps_a_connection_here, what_arrives_on_the_way_closes_it,
                nobody_takes_it, closing_while_leaving,
            }
            load {
                a_tiny_pool_starves_and_recovers, slots_are_reused, busy_peers_share,
            }
        }
    };
}

pub(super) use {run, suite, unix_suite};

mod on_uring {
    mod all_features {
        crate::io::suite::suite!(crate::io::suite::real::Real<crate::io::suite::real::Full>);
    }
    mod without_defer_taskrun {
        crate::io::suite::suite!(crate::io::suite::real::Real<crate::io::suite::real::NoDefer>);
    }
    mod without_multishot {
        crate::io::suite::suite!(crate::io::suite::real::Real<crate::io::suite::real::NoMultishot>);
    }
    mod without_skip_success {
        crate::io::suite::suite!(crate::io::suite::real::Real<crate::io::suite::real::NoSkip>);
    }
    mod without_anything {
        crate::io::suite::suite!(crate::io::suite::real::Real<crate::io::suite::real::Bare>);
    }
}

mod on_epoll {
    crate::io::suite::suite!(crate::io::suite::real::Real<crate::io::suite::real::OnEpoll>);
}

mod unix_on_uring {
    mod all_features {
        crate::io::suite::unix_suite!(
            crate::io::suite::real::Real<crate::io::suite::real::Full, true>
        );
    }
    mod without_anything {
        crate::io::suite::unix_suite!(
            crate::io::suite::real::Real<crate::io::suite::real::Bare, true>
        );
    }
}

mod unix_on_epoll {
    crate::io::suite::unix_suite!(
        crate::io::suite::real::Real<crate::io::suite::real::OnEpoll, true>
    );
}
