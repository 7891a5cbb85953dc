//! Answers to COM_STMT_PREPARE.
//!
//! Purpose: count the definitions that follow, and give the statement the id its client knows it by.
//! Never: look at a definition.

use crate::wire::Capabilities;
use crate::wire::edit::Edits;
use crate::wire::prepared::{self, PrepareOk};
use crate::wire::reply::control::Frame;
use crate::wire::reply::{ReplyError, ReplyEvent, ReplyWalk, State};

impl ReplyWalk {
    pub(super) fn prepare_header(
        &mut self,
        frame: &mut Frame<'_>,
        edits: &mut Edits,
    ) -> Result<Option<ReplyEvent>, ReplyError> {
        let answer = PrepareOk::parse(frame.payload())?;
        let PrepareOk { columns, params, .. } = answer;
        if let Some(notes) = &mut self.notes {
            prepared::set_statement_id(frame.payload_mut(), notes.on_prepared(answer));
        }
        let left_out = PrepareOk::leaves_out(frame.payload(), self.dialect.backend);
        self.pass(frame, edits);
        if left_out {
            // Servers that leave out definitions all have DEPRECATE_EOF; to clients without it they
            // send the EOFs all the same.
            for _ in [params, columns].into_iter().filter(|count| *count > 0) {
                self.owes_eof = !self.dialect.client.contains(Capabilities::DEPRECATE_EOF);
                self.pay_eof(edits);
            }
            return Ok(Some(ReplyEvent::End { failed: false }));
        }
        self.state = match (params, columns) {
            (0, 0) => return Ok(Some(ReplyEvent::End { failed: false })),
            (0, left) => State::PrepareColumns { left },
            (left, columns) => State::PrepareParams { left, columns },
        };
        Ok(None)
    }
}
