//! What is checked of the worker itself.
//!
//! Purpose: its memory at every turn, and what it leaves behind.
//! Never: what its clients receive; each of them checks that.

use weir::observe::Counter;

use super::{Stage, World};
use crate::check::{Checked, Who, violation};

impl World {
    /// A peer that does not read costs no more than its allowance.
    pub(super) fn judge_memory(&self) -> Checked {
        let (stats, limits) = (self.worker.driver_stats(), &self.config.limits);
        let overshoot = limits.large_buffer_bytes + 8 * limits.receive_buffer_bytes;
        let allowed = stats.connections * (limits.session_buffer_bytes + overshoot);
        if stats.spilled_bytes > allowed {
            return violation(format!("{} bytes of spills, {stats:?}", stats.spilled_bytes));
        }
        if stats.large_buffers_used > limits.large_buffers_max {
            return violation(format!("too many large buffers: {stats:?}"));
        }
        Ok(())
    }

    pub(super) fn judge_rest(&mut self) -> Checked {
        let stats = self.worker.driver_stats();
        let buffers = stats.small_buffers - stats.small_buffers_free + stats.large_buffers_used;
        if buffers != 0 || stats.spilled_bytes != 0 || self.worker.sessions() != 0 {
            return violation(format!("left behind: {stats:?}"));
        }
        if self.counters.read(Counter::Bugs) != 0 {
            return violation("a session ended by a bug of its own");
        }
        if self.drain.is_some() != self.worker.is_drained() {
            return violation("drained and not, or not and drained");
        }
        self.trace.note(self.net.now(), Who::Control, "is content", self.accepted);
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        let mut text = format!("{:?}\n", self.worker.driver_stats());
        for (client, index) in self.clients.iter().zip(0..) {
            let stage = match &client.stage {
                Stage::Waiting => "not there yet".to_owned(),
                Stage::Entering(entering) => entering.describe(),
                Stage::Talking(talk) => talk.describe(),
                Stage::Gone => continue,
            };
            text.push_str(&format!("client {index}: {stage}\n"));
        }
        for serving in &self.servers {
            text.push_str(&format!("server: {}\n", serving.server.describe()));
        }
        text
    }
}
