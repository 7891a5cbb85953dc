//! Packets put together from any pieces.

use super::*;
use crate::wire::frame as put_frame;

fn all(pieces: &mut dyn Iterator<Item = &[u8]>, max: usize) -> Result<Vec<Packet>, FrameError> {
    let mut assembler = Assembler::new(max);
    let mut packets = Vec::new();
    for piece in pieces {
        assembler.push(piece);
        while let Some(packet) = assembler.next_packet()? {
            packets.push(packet);
        }
    }
    Ok(packets)
}

#[test]
fn packets_come_out_whole_at_any_cut() {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, 0, |out| out.extend_from_slice(b"one"));
    put_frame(&mut bytes, 7, |_| ());
    put_frame(&mut bytes, 255, |out| out.extend_from_slice(b"three"));
    for size in 1..=bytes.len() {
        let packets = all(&mut bytes.chunks(size), 100).unwrap();
        let got: Vec<_> = packets.iter().map(|p| (p.seq, &p.payload[..])).collect();
        assert_eq!(got, [(0, &b"one"[..]), (7, b""), (255, b"three")]);
    }
}

#[test]
fn a_full_frame_and_its_empty_follower_are_one_packet() {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, 254, |out| out.extend_from_slice(&vec![7; PAYLOAD_BYTES_MAX]));
    let packets = all(&mut bytes.chunks(1 << 20), 1 << 25).unwrap();
    assert_eq!(packets.len(), 1);
    assert_eq!((packets[0].seq, packets[0].payload.len()), (255, PAYLOAD_BYTES_MAX));
}

#[test]
fn too_long_and_out_of_order_are_told_apart_from_short() {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, 0, |out| out.extend_from_slice(b"eleven bytes"));
    assert_eq!(all(&mut [&bytes[..4]].into_iter(), 11), Err(FrameError::TooLong));
    assert_eq!(all(&mut [&bytes[..9]].into_iter(), 12), Ok(vec![]));

    let mut full = BytesMut::new();
    put_frame(&mut full, 0, |out| out.extend_from_slice(&vec![7; PAYLOAD_BYTES_MAX]));
    let follower = full.len() - 1;
    full[follower] = 2;
    assert_eq!(all(&mut [&full[..]].into_iter(), 1 << 25), Err(FrameError::OutOfOrder));
}
