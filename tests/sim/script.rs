//! What clients ask and what servers answer to it.
//!
//! Purpose: one description of an exchange that both ends derive from the same seed, so that the
//! client knows every byte that must come.
//! Never: know who sends it, or in which dialect.

use weir::wire::{Command, Status};

use crate::rng::Rng;

/// Payload bytes of a full frame.
pub(crate) const FRAME_MAX: usize = 0xFF_FFFF;

/// The bit of a command's seed that makes its answer large.
const HEAVY: u64 = 1;

/// A command of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// `None`: an empty packet.
    pub(crate) command: Option<u8>,
    /// Decides the padding and the answer.
    pub(crate) seed: u64,
    pub(crate) payload_bytes: usize,
}

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Prepare,
    FieldList,
    Fetch,
    Statistics,
    /// One OK, or an EOF.
    Simple,
    Silent,
    /// By Weir, with ERR 1047.
    Refused,
    Quit,
}

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ok(End),
    Err(u16),
    /// Number of columns.
    Count(u8),
    Column(usize),
    /// The EOF between metadata and rows, for dialects that have it.
    Middle,
    /// A row with one value of so many bytes.
    Row(usize),
    /// The end of rows: OK or EOF.
    End(End),
    Infile,
    Prepared {
        columns: u16,
        params: u16,
    },
    Text(usize),
}

/// What an OK says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) affected_rows: u64,
    pub(crate) warnings: u16,
    pub(crate) info_bytes: usize,
    pub(crate) tracked: bool,
}

impl Ask {
    /// Any command but COM_QUIT; a heavy one likes to be large, and its answer too.
    pub(crate) fn draw(rng: &mut Rng, heavy: bool) -> Self {
        const COMMON: [u8; 10] = [
            Command::Query.as_byte(),
            Command::Query.as_byte(),
            Command::StmtExecute.as_byte(),
            Command::StmtPrepare.as_byte(),
            Command::Ping.as_byte(),
            Command::InitDb.as_byte(),
            Command::FieldList.as_byte(),
            Command::StmtFetch.as_byte(),
            Command::SetOption.as_byte(),
            Command::Query.as_byte(),
        ];
        // Not COM_PROCESS_INFO: its answer is read, and these answers are of anything.
        const RARE: [u8; 12] = [
            Command::Statistics.as_byte(),
            Command::ResetConnection.as_byte(),
            Command::StmtReset.as_byte(),
            Command::StmtClose.as_byte(),
            Command::StmtSendLongData.as_byte(),
            Command::Refresh.as_byte(),
            Command::Debug.as_byte(),
            Command::StmtBulkExecute.as_byte(),
            Command::Daemon.as_byte(),
            Command::Clone.as_byte(),
            0x55,
            0xC3,
        ];
        let command = match rng.between(0, 40) {
            0 => None,
            1..=9 => Some(rng.pick(&RARE)),
            _ => Some(rng.pick(&COMMON)),
        };
        let payload_bytes = match command {
            None => 0,
            Some(_) if rng.one_in(4_000) => rng.pick(&[FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1]),
            Some(_) if heavy && rng.percent(50) => 1 + rng.between(0, 60_000),
            Some(_) => 1 + some_bytes(rng),
        };
        Self { command, seed: rng.next() & !HEAVY | u64::from(heavy), payload_bytes }
    }

    pub(crate) fn quit() -> Self {
        Self { command: Some(Command::Quit.as_byte()), seed: 0, payload_bytes: 1 }
    }

    pub(crate) fn kind(&self) -> Kind {
        let Some(command) = self.command.and_then(Command::from_byte) else { return Kind::Refused };
        match command {
            Command::Quit => Kind::Quit,
            Command::Query
            | Command::StmtExecute
            | Command::StmtBulkExecute
            | Command::ProcessInfo => Kind::Query,
            Command::StmtPrepare => Kind::Prepare,
            Command::FieldList => Kind::FieldList,
            Command::StmtFetch => Kind::Fetch,
            Command::Statistics => Kind::Statistics,
            Command::InitDb
            | Command::Ping
            | Command::SetOption
            | Command::StmtReset
            | Command::Refresh
            | Command::Debug
            | Command::ResetConnection => Kind::Simple,
            Command::StmtClose | Command::StmtSendLongData => Kind::Silent,
            // The first two are not drawn: Weir makes more of them than a model here could.
            Command::ProcessKill
            | Command::ChangeUser
            | Command::BinlogDump
            | Command::RegisterReplica
            | Command::Daemon
            | Command::BinlogDumpGtid
            | Command::Clone => Kind::Refused,
        }
    }

    /// Whether the client has to wait for the answer before it sends more.
    pub(crate) fn uploads(&self) -> bool {
        self.answer().contains(&Part::Infile)
    }

    /// Sequence id of the answer's first frame.
    pub(crate) fn answer_seq(&self) -> u8 {
        u8::try_from(self.payload_bytes / FRAME_MAX + 1).expect("a short command")
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.payload_bytes);
        payload.extend(self.command);
        payload.extend(pattern(self.seed, self.payload_bytes - payload.len()));
        payload
    }

    /// What a server answers.
    pub(crate) fn answer(&self) -> Vec<Part> {
        let mut rng = Rng::new(self.seed);
        let rng = &mut rng;
        let mut parts = Vec::new();
        match self.kind() {
            Kind::Silent | Kind::Refused | Kind::Quit => return parts,
            Kind::Statistics => return vec![Part::Text(rng.between(1, 200))],
            Kind::Query | Kind::Prepare | Kind::FieldList | Kind::Fetch | Kind::Simple => {}
        }
        if rng.percent(10) {
            return vec![Part::Err(error(rng))];
        }
        match self.kind() {
            Kind::Query => {
                query(rng, &mut parts);
                if self.seed & HEAVY != 0 {
                    swell(rng, &mut parts);
                }
            }
            Kind::Prepare => prepare(rng, &mut parts),
            Kind::FieldList => {
                parts.extend((0..rng.between(0, 6)).map(|_| Part::Column(40)));
                parts.push(Part::End(end(rng)));
            }
            Kind::Fetch => rows(rng, &mut parts, Status::LAST_ROW_SENT),
            Kind::Simple if self.command == Some(Command::SetOption.as_byte()) => {
                parts.push(Part::End(end(rng)));
            }
            Kind::Simple => parts.push(Part::Ok(end(rng))),
            Kind::Statistics | Kind::Silent | Kind::Refused | Kind::Quit => {}
        }
        parts
    }

    /// The file a client sends: bytes of each frame, without the empty one at its end.
    pub(crate) fn upload(&self) -> Vec<usize> {
        let mut rng = Rng::new(self.seed ^ 1);
        (0..rng.between(0, 5)).map(|_| 1 + some_bytes(&mut rng)).collect()
    }
}

fn query(rng: &mut Rng, parts: &mut Vec<Part>) {
    let results = if rng.percent(20) { rng.between(2, 5) } else { 1 };
    for result in 1..=results {
        // Nothing follows an error.
        if matches!(parts.last(), Some(Part::Err(_))) {
            return;
        }
        let last = result == results;
        let more = if last { Status(0) } else { Status::MORE_RESULTS };
        match rng.between(0, 20) {
            0 if last => parts.push(Part::Err(error(rng))),
            1 => {
                parts.push(Part::Infile);
                parts.push(Part::Ok(with(end(rng), more)));
            }
            // Only the last result can be left to a cursor.
            2 if last => {
                metadata(rng, parts);
                parts.push(Part::End(with(end(rng), Status::CURSOR_EXISTS)));
            }
            3..=7 => parts.push(Part::Ok(with(end(rng), more))),
            _ => {
                metadata(rng, parts);
                parts.push(Part::Middle);
                rows(rng, parts, more);
            }
        }
    }
}

/// Makes some rows large.
fn swell(rng: &mut Rng, parts: &mut [Part]) {
    for part in parts {
        if let Part::Row(bytes) = part
            && rng.percent(15)
        {
            *bytes += rng.between(0, 30_000);
        }
    }
}

fn metadata(rng: &mut Rng, parts: &mut Vec<Part>) {
    let columns = if rng.one_in(10) { 200 } else { rng.between(1, 5) };
    parts.push(Part::Count(u8::try_from(columns).expect("few columns")));
    parts.extend((0..columns).map(|_| Part::Column(rng.between(20, 90))));
}

fn rows(rng: &mut Rng, parts: &mut Vec<Part>, status: Status) {
    let count = if rng.one_in(10) { rng.between(0, 400) } else { rng.between(0, 8) };
    for _ in 0..count {
        parts.push(Part::Row(match rng.between(0, 60_000) {
            // 0xFFFFFF bytes with their length before them, one less, and more.
            0 => FRAME_MAX - 4,
            1 => FRAME_MAX - 5,
            2 => FRAME_MAX + 70_000,
            3..=600 => some_bytes(rng),
            _ => rng.between(0, 300),
        }));
    }
    if rng.percent(5) {
        parts.push(Part::Err(error(rng)));
    } else {
        parts.push(Part::End(with(end(rng), status)));
    }
}

fn prepare(rng: &mut Rng, parts: &mut Vec<Part>) {
    let some = |rng: &mut Rng| u16::try_from(rng.pick(&[0, 0, 1, 2, 7])).expect("few");
    let (params, columns) = (some(rng), some(rng));
    parts.push(Part::Prepared { columns, params });
    for definitions in [params, columns] {
        parts.extend((0..definitions).map(|_| Part::Column(rng.between(20, 90))));
        if definitions > 0 {
            parts.push(Part::Middle);
        }
    }
}

fn end(rng: &mut Rng) -> End {
    const FLAGS: [Status; 6] = [
        Status::AUTOCOMMIT,
        Status::AUTOCOMMIT,
        Status(Status::AUTOCOMMIT.0 | Status::IN_TRANS.0),
        Status(Status::AUTOCOMMIT.0 | Status::NO_INDEX_USED.0),
        Status(Status::IN_TRANS.0 | Status::IN_TRANS_READONLY.0),
        Status(Status::AUTOCOMMIT.0 | Status::NO_BACKSLASH_ESCAPES.0 | Status::QUERY_WAS_SLOW.0),
    ];
    End {
        status: rng.pick(&FLAGS),
        affected_rows: rng.pick(&[0, 1, 250, 251, 70_000, 1 << 40]),
        warnings: rng.pick(&[0, 0, 0, 3]),
        info_bytes: rng.pick(&[0, 0, 0, 30, 300]),
        tracked: rng.percent(20),
    }
}

fn with(end: End, status: Status) -> End {
    End { status: end.status.with(status), ..end }
}

fn error(rng: &mut Rng) -> u16 {
    rng.pick(&[1064, 1146, 1205, 1213, 1317])
}

/// Mostly little, sometimes much.
fn some_bytes(rng: &mut Rng) -> usize {
    match rng.between(0, 100) {
        0 => rng.between(0, 600_000),
        1..=4 => rng.between(0, 70_000),
        5..=14 => rng.between(0, 5_000),
        _ => rng.between(0, 150),
    }
}

/// Bytes in which a shift, a hole or a doubled piece shows.
pub(crate) fn pattern(seed: u64, bytes: usize) -> impl Iterator<Item = u8> {
    let mut state = seed | 1;
    (0..bytes).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        state.to_le_bytes()[7]
    })
}
