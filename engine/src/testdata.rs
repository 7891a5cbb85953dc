//! The recordings of `testdata/`, for unit tests.
//!
//! Purpose: one place that reads the table, so that every recording is used without being named.
//! Never: interpret the bytes beyond their frames.

use std::fs;
use std::path::Path;

use crate::wire::Capabilities;

/// One recorded reply or, during the login, packet of either side.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) name: String,
    /// The command answered; `None` during the login.
    pub(crate) command: Option<u8>,
    /// What was negotiated.
    pub(crate) capabilities: Capabilities,
    /// Whole frames, as they came.
    pub(crate) bytes: Vec<u8>,
}

impl Recording {
    /// Sequence id and payload of each frame.
    pub(crate) fn frames(&self) -> Vec<(u8, &[u8])> {
        let mut frames = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let [a, b, c, seq, after @ ..] = rest {
            let (payload, tail) = after.split_at(u32::from_le_bytes([*a, *b, *c, 0]) as usize);
            frames.push((*seq, payload));
            rest = tail;
        }
        assert!(rest.is_empty(), "{} ends inside a frame", self.name);
        frames
    }

    /// The payload of its only frame.
    pub(crate) fn payload(&self) -> &[u8] {
        let frames = self.frames();
        assert_eq!(frames.len(), 1, "{}", self.name);
        frames[0].1
    }
}

/// Every recording, in the order it was made.
pub(crate) fn recordings() -> Vec<Recording> {
    let extended = Capabilities::MARIADB_PROGRESS
        .union(Capabilities::MARIADB_STMT_BULK_OPERATIONS)
        .union(Capabilities::MARIADB_EXTENDED_METADATA)
        .union(Capabilities::MARIADB_CACHE_METADATA);
    let mut all = in_folder("mariadb-10.11", Capabilities::PROTOCOL_41);
    all.extend(in_folder("mariadb-10.11-extended", Capabilities::PROTOCOL_41.union(extended)));
    all
}

/// The recordings of one folder, all with these capabilities.
fn in_folder(folder: &str, capabilities: Capabilities) -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let table = fs::read_to_string(folder.join("index.txt")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let row: Vec<_> = row.split_whitespace().collect();
        let [name, _from, command, deprecate_eof, session_track, frames] = row[..] else {
            panic!("a row of index.txt has not six columns: {row:?}")
        };
        let recording = Recording {
            name: name.to_owned(),
            command: u8::from_str_radix(command, 16).ok(),
            capabilities: capabilities
                .set(Capabilities::DEPRECATE_EOF, deprecate_eof == "yes")
                .set(Capabilities::SESSION_TRACK, session_track == "yes"),
            bytes: fs::read(folder.join(format!("{name}.bin"))).unwrap(),
        };
        assert_eq!(recording.frames().len().to_string(), frames, "{name}");
        recording
    })
    .collect()
}

/// The recording of that name.
pub(crate) fn recording(name: &str) -> Recording {
    let found = recordings().into_iter().find(|recording| recording.name == name);
    found.unwrap_or_else(|| panic!("no recording is called {name}"))
}
