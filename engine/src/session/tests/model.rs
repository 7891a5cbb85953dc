//! A model of a client and a server that agree, with a session between them.
//!
//! Both speak in random pieces at random moments. The client must get what a server that speaks its
//! own dialect would have sent, in the order of its commands, and the server what the client sent.

use proptest::prelude::*;

use super::*;

/// What a client asks, and how it is answered.
#[derive(Clone, Debug)]
enum Exchange {
    /// One OK.
    Ok,
    /// One ERR.
    Err,
    /// Result sets, each of so many columns and rows of so many bytes.
    Results(Vec<(u8, Vec<u16>)>),
    /// Rows that end in an ERR.
    Broken(u8),
    /// A statement of so many parameters and columns.
    Prepare(u8, u8),
    /// No answer.
    Silent,
    /// Not relayed.
    Refused,
}

impl Exchange {
    fn asks(&self) -> Vec<u8> {
        match self {
            Self::Ok => command(&[0x0E]),
            Self::Err | Self::Results(_) | Self::Broken(_) => query(),
            Self::Prepare(..) => command(b"\x16SELECT ?"),
            Self::Silent => command(&[0x19, 1, 0, 0, 0]),
            Self::Refused => command(&[0x1D, 7]),
        }
    }

    /// The answer of a server to a client that has DEPRECATE_EOF, or has not.
    fn answer(&self, deprecate_eof: bool) -> Vec<u8> {
        let mut out = Answer { bytes: Vec::new(), seq: 1, deprecate_eof };
        match self {
            Self::Ok => out.put(LOGIN_OK),
            Self::Err => out.put(b"\xFF\x28\x04#42000syntax"),
            Self::Results(results) => {
                let (last, others) = results.split_last().unwrap();
                for (columns, rows) in others {
                    out.result(*columns, rows, 0x0A);
                }
                out.result(last.0, &last.1, 2);
            }
            Self::Broken(rows) => {
                out.definitions(1);
                (0..*rows).for_each(|_| out.put(b"\x01r"));
                out.put(b"\xFF\x25\x05#70100killed");
            }
            Self::Prepare(params, columns) => {
                out.put(&[0, 1, 0, 0, 0, *columns, 0, *params, 0, 0, 0, 0]);
                for count in [*params, *columns] {
                    out.columns(count);
                }
            }
            Self::Silent => {}
            Self::Refused => out.put(b"\xFF\x17\x04#08S01Unknown command"),
        }
        out.bytes
    }
}

struct Answer {
    bytes: Vec<u8>,
    seq: u8,
    deprecate_eof: bool,
}

impl Answer {
    fn put(&mut self, payload: &[u8]) {
        self.bytes.extend(packet(self.seq, payload));
        self.seq = self.seq.wrapping_add(1);
    }

    fn columns(&mut self, count: u8) {
        (0..count).for_each(|_| self.put(b"\x03def\x00\x00\x00\x01a"));
        if count > 0 && !self.deprecate_eof {
            self.put(&[0xFE, 0, 0, 2, 0]);
        }
    }

    fn definitions(&mut self, columns: u8) {
        self.put(&[columns]);
        self.columns(columns);
    }

    fn result(&mut self, columns: u8, rows: &[u16], status: u8) {
        self.definitions(columns);
        rows.iter().for_each(|bytes| self.put(&vec![b'r'; usize::from(*bytes)]));
        if self.deprecate_eof {
            self.put(&[0xFE, 0, 0, status, 0, 0, 0]);
        } else {
            self.put(&[0xFE, 0, 0, status, 0]);
        }
    }
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let rows = proptest::collection::vec(1_u16..400, 0..5);
    let results = proptest::collection::vec((1_u8..4, rows), 1..4);
    prop_oneof![
        2 => Just(Exchange::Ok),
        1 => Just(Exchange::Err),
        5 => results.prop_map(Exchange::Results),
        1 => (0_u8..3).prop_map(Exchange::Broken),
        2 => (0_u8..3, 0_u8..3).prop_map(|(p, c)| Exchange::Prepare(p, c)),
        1 => Just(Exchange::Silent),
        2 => Just(Exchange::Refused),
    ]
}

/// Moves bytes by turns until nothing moves any more.
fn run(client: Capabilities, exchanges: &[Exchange], turns: &[(bool, usize)]) -> Pair {
    let mut pair = Pair::logged_in(client);
    let asked: Vec<u8> = exchanges.iter().flat_map(Exchange::asks).collect();
    let mut client_sends = asked.as_slice();
    // What the server has not answered: it answers a command when all of it has come.
    let mut relayed = exchanges.iter().filter(|exchange| !matches!(exchange, Exchange::Refused));
    let (mut received, mut server_sends) = (BytesMut::new(), BytesMut::new());
    let mut turns = turns.iter().cycle();
    while !client_sends.is_empty() || !server_sends.is_empty() {
        let (of_client, bytes) = *turns.next().unwrap();
        if of_client && !client_sends.is_empty() {
            let (now, later) = client_sends.split_at(bytes.min(client_sends.len()));
            client_sends = later;
            pair.client(now);
        } else if !server_sends.is_empty() {
            let now = server_sends.split_to(bytes.min(server_sends.len()));
            pair.backend(&now);
        }
        received.extend_from_slice(&pair.backend_got());
        while let Some(header) = Header::peek(&received)
            && received.len() >= 4 + header.payload_bytes
        {
            let command = received.split_to(4 + header.payload_bytes);
            let exchange = relayed.next().unwrap();
            assert_eq!(command, exchange.asks());
            server_sends.extend_from_slice(&exchange.answer(true));
        }
        assert!(!pair.closed, "{:?}", pair.fault);
    }
    assert!(received.is_empty() && relayed.next().is_none(), "all of it has come");
    pair
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_client_gets_what_its_own_server_would_send(
        exchanges in proptest::collection::vec(exchange(), 1..PIPELINED_MAX),
        old in any::<bool>(),
        pieces in proptest::collection::vec((any::<bool>(), 1_usize..60), 0..20),
    ) {
        let client = if old { OLD } else { NEW };
        // Each side gets its turn.
        let turns = [pieces, vec![(true, 7), (false, 11)]].concat();
        let mut pair = run(client, &exchanges, &turns);
        let want: Vec<u8> = exchanges.iter().flat_map(|e| e.answer(!old)).collect();
        prop_assert_eq!(packets(&pair.sides.client), packets(&want));
        prop_assert!(pair.session.is_at_rest());
        let commands = u32::try_from(exchanges.len()).unwrap();
        let answered = |e: &&Exchange| !matches!(e, Exchange::Silent | Exchange::Refused);
        let replies = u32::try_from(exchanges.iter().filter(answered).count()).unwrap();
        prop_assert_eq!((pair.tally.commands, pair.tally.replies), (commands, replies));
        pair.client(&command(&[1]));
        prop_assert!(pair.closed && pair.fault.is_none());
    }
}
