//! The test's own test.
//!
//! Purpose: programs are such that a session shows which is not theirs: one that lost what it knew,
//! and one in which another program was before.
//! Never: ask Weir; such sessions are made by hand.

use weir_tests::Flavour;

use super::programs;
use super::run::{Model, Session, start};
use super::step::Step;
use crate::fixture::Database;

mod mariadb {
    #[test]
    fn a_lost_or_foreign_session_is_noticed() {
        super::lost_or_foreign(weir_tests::Flavour::MariaDb);
    }
}
mod mysql {
    #[test]
    fn a_lost_or_foreign_session_is_noticed() {
        super::lost_or_foreign(weir_tests::Flavour::MySql);
    }
}

/// Always the same programs.
const SEED: u64 = 1;
const PROGRAMS: u64 = 40;

fn lost_or_foreign(flavour: Flavour) {
    let own = Database::start(flavour);
    let server = &own.server;
    let mut programs = programs(server, SEED, PROGRAMS);
    let (mut lost, mut foreign) = (0, 0);
    let (capabilities, collation) = (programs[0].capabilities, programs[0].collation);
    let mut before: Option<Session> = None;
    for program in &mut programs {
        // So that one can go on where another was.
        (program.capabilities, program.collation) = (capabilities, collation);
        let model = Model::of(server, program);
        let is_alone = |session: &mut Session, from: usize, to: usize| {
            let steps = program.steps.iter().zip(&model.outcomes).skip(from).take(to - from);
            steps.fold(true, |same, (step, outcome)| session.take(step) == *outcome && same)
        };
        let (half, all) = (program.steps.len() / 2, program.steps.len());

        start(server, program);
        let mut session = Session::begin(server.address(), program).unwrap();
        assert!(is_alone(&mut session, 0, half), "it differs by itself: {program}");
        session = Session::begin(server.address(), program).unwrap();
        session.take(&Step::InitDb(program.own.clone()));
        lost += usize::from(!is_alone(&mut session, half, all));
        drop(session);

        start(server, program);
        let mut session = match before.take() {
            Some(session) => session.of_another(),
            None => Session::begin(server.address(), program).unwrap(),
        };
        foreign += usize::from(!is_alone(&mut session, 0, all));
        before = Some(session);
    }
    // In some of them there is nothing to lose at half time, or nothing that another one touched.
    let count = programs.len();
    assert!(lost * 10 >= count * 6, "{lost} of {count} lost sessions");
    assert!(foreign * 10 >= count * 6, "{foreign} of {count} foreign sessions");
}
