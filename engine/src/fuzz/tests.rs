//! The fuzz bodies on recordings, cuts and mutations of them, and random bytes.

use proptest::prelude::*;

use crate::fuzz::{answer, command, handshake};
use crate::testdata::recordings;

fn all(data: &[u8]) {
    handshake(data);
    command(data);
    answer(data);
}

/// Every payload recorded, and the same cut at every byte (for the long ones, near both ends).
#[test]
fn recordings_and_their_cuts() {
    let mut payloads = 0;
    for recording in recordings() {
        for (_, payload) in recording.frames() {
            payloads += 1;
            let near_an_end = |cut: &usize| *cut < 300 || payload.len() - cut < 300;
            for cut in (0..=payload.len()).filter(near_an_end) {
                all(&payload[..cut]);
            }
        }
    }
    assert!(payloads > 1000, "only {payloads} payloads");
}

proptest! {
    #[test]
    fn any_bytes(data in any::<Vec<u8>>()) {
        all(&data);
    }

    /// Near misses go deeper than noise.
    #[test]
    fn recordings_with_changed_bytes(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        before in proptest::option::of(any::<u8>()),
    ) {
        thread_local! {
            static SHORT: Vec<Vec<u8>> = recordings()
                .iter()
                .flat_map(|recording| {
                    recording.frames().into_iter().map(|(_, p)| p.to_vec()).collect::<Vec<_>>()
                })
                .filter(|payload| (1..500).contains(&payload.len()))
                .collect();
        }
        let mut data = SHORT.with(|payloads| which.get(payloads).clone());
        for (at, byte) in changes {
            *at.get_mut(&mut data) = byte;
        }
        // The bodies that feed machines begin with a length.
        data.splice(0..0, before);
        all(&data);
    }
}
