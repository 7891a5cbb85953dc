//! Walking what a client sends: where commands begin, which they are, and when a file upload ends.
//!
//! Purpose: relay commands of any size cut-through, deciding on the first five bytes; collect those
//! that their owner wants to see whole.
//! Never: look past a command's first byte, or collect what the owner did not bound.

use bytes::BytesMut;

use crate::wire::command::Command;
use crate::wire::edit::{Edits, Side};
use crate::wire::frame::{self, FrameError, HEADER_BYTES, Header};

/// What a client began or finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// A command begins; nothing of it has been used. Answer with [`RequestWalk::relay`],
    /// [`RequestWalk::refuse`] or [`RequestWalk::hold`], then feed on. `None`: not a command of the
    /// protocol.
    Command(Option<Command>),
    /// A relayed command of several frames is over; its answer has this sequence id and not 1.
    Long {
        /// Sequence id of the answer.
        seq: u8,
    },
    /// A held command is whole: [`RequestWalk::take_held`] gives its payload.
    Held,
    /// The head that was asked for of a long command is there: [`RequestWalk::take_held`] gives it.
    /// Answer as to [`Self::Command`]; what is relayed or refused is what comes behind it.
    Head,
    /// A refused command is over; its error has this sequence id.
    Refused {
        /// Sequence id of the answer.
        seq: u8,
    },
    /// The last, empty frame of a file upload has gone by.
    UploadEnd,
}

/// How far a [`RequestWalk::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Bytes of the input that were used, all of them unless there is an event.
    pub used: usize,
    /// What happened after those bytes.
    pub event: Option<RequestEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between commands.
    Idle,
    /// A command's head is known and waits for the owner's decision.
    Undecided,
    /// Inside a command.
    Command(Fate),
    /// Inside the last command, which goes on or is dropped.
    LastCommand { goes_on: bool },
    /// After the last command: whatever comes is dropped.
    Over,
    /// The client sends a file; sequence ids go down by `shift`.
    Upload { shift: u8 },
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Relay,
    /// It is dropped and answered with an error.
    Refuse,
    /// It is collected.
    Hold,
    /// Its head is collected.
    HoldHead,
}

/// Walks the client's side of a session.
#[derive(Debug)]
pub struct RequestWalk {
    state: State,
    /// Bytes of the current frame still to come.
    body_bytes: usize,
    /// The current frame is followed by a continuation.
    continued: bool,
    /// The current frame is the empty one that ends an upload.
    upload_over: bool,
    /// Sequence id of the frame read last.
    last_seq: u8,
    /// Bytes of the payload of the command reported last, in its first frame.
    command_bytes: usize,
    /// A frame's head that was cut.
    partial: BytesMut,
    /// The payload of a held command, as far as it has come.
    held: BytesMut,
    /// Bytes of a head that is being collected still to come.
    head_bytes: usize,
}

impl Default for RequestWalk {
    fn default() -> Self {
        Self {
            state: State::Idle,
            body_bytes: 0,
            continued: false,
            upload_over: false,
            last_seq: 0,
            command_bytes: 0,
            partial: BytesMut::new(),
            held: BytesMut::new(),
            head_bytes: 0,
        }
    }
}

impl RequestWalk {
    /// Lets the command that was just reported go on to the backend.
    pub fn relay(&mut self) {
        self.state = State::Command(Fate::Relay);
    }

    /// Drops the command that was just reported; [`RequestEvent::Refused`] follows at its end.
    pub fn refuse(&mut self) {
        self.state = State::Command(Fate::Refuse);
    }

    /// Collects the command that was just reported; [`RequestEvent::Held`] follows at its end. The
    /// caller bounds it by [`Self::command_bytes`]; it must be of one frame.
    pub fn hold(&mut self) {
        self.state = State::Command(Fate::Hold);
    }

    /// Collects the first bytes of the command that was just reported, which has more than that in
    /// its first frame; [`RequestEvent::Head`] follows.
    pub fn hold_head(&mut self, bytes: usize) {
        self.head_bytes = bytes;
        self.state = State::Command(Fate::HoldHead);
    }

    /// The payload of a held command that is whole, or a head.
    pub fn take_held(&mut self) -> BytesMut {
        std::mem::take(&mut self.held)
    }

    /// Bytes of the command that was just reported. At [`frame::PAYLOAD_BYTES_MAX`] more follow.
    #[must_use]
    pub const fn command_bytes(&self) -> usize {
        self.command_bytes
    }

    /// The short way for most commands: the one that `input` begins with, and its payload, if all
    /// of it is there and nothing is amiss. Goes on with [`Self::relay_whole`] or [`Self::feed`].
    #[inline]
    #[must_use]
    pub fn whole_command<'a>(&self, input: &'a [u8]) -> Option<(Command, &'a [u8])> {
        if self.state != State::Idle || !self.partial.is_empty() {
            return None;
        }
        let header = Header::peek(input)?;
        if header.seq != 0 || header.is_continued() {
            return None;
        }
        let payload = input.get(HEADER_BYTES..)?.get(..header.payload_bytes)?;
        Some((Command::from_byte(*payload.first()?)?, payload))
    }

    /// Lets a command go on that [`Self::whole_command`] gave. Returns the bytes used.
    #[inline]
    pub fn relay_whole(&mut self, payload_bytes: usize, edits: &mut Edits) -> usize {
        let bytes = HEADER_BYTES + payload_bytes;
        edits.forward(bytes);
        self.last_seq = 0;
        bytes
    }

    /// Lets the command that was just reported go on, and drops whatever follows it.
    pub fn relay_last(&mut self) {
        self.state = State::LastCommand { goes_on: true };
    }

    /// Drops the command that was just reported, and whatever follows it.
    pub fn drop_last(&mut self) {
        self.state = State::LastCommand { goes_on: false };
    }

    /// The backend asked for a file: what comes now is data, up to an empty frame. `shift` is taken
    /// off the client's sequence ids (see [`crate::wire::reply::ReplyWalk::shift`]).
    /// `request_seq` is the sequence id of the backend's wish as the client saw it.
    pub fn begin_upload(&mut self, shift: u8, request_seq: u8) {
        self.state = State::Upload { shift };
        self.last_seq = request_seq;
    }

    /// Inside a file upload.
    #[must_use]
    pub const fn is_uploading(&self) -> bool {
        matches!(self.state, State::Upload { .. })
    }

    /// Between commands, with no byte of a next one seen.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_between_commands() && self.partial.is_empty()
    }

    /// Between commands; less of a next one was seen than it takes to know it.
    #[must_use]
    pub fn is_between_commands(&self) -> bool {
        self.state == State::Idle
    }

    /// The head of a frame was cut, and its pieces are kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Inside a command that is relayed and was decided on.
    #[must_use]
    pub fn is_inside_command(&self) -> bool {
        self.state == State::Command(Fate::Relay)
    }

    /// The last command has gone by.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Bytes the current frame is known to have still.
    #[must_use]
    pub const fn bytes_ahead(&self) -> usize {
        self.body_bytes
    }

    /// Sequence id an answer to what was read last would have.
    #[must_use]
    pub const fn answer_seq(&self) -> u8 {
        self.last_seq.wrapping_add(1)
    }

    /// Walks input up to its end or the next event. Call again with the rest after an event, also
    /// when the rest is empty.
    ///
    /// # Errors
    /// [`FrameError::OutOfOrder`] when a sequence id is wrong: the client cannot go on.
    pub fn feed(&mut self, input: &mut [u8], edits: &mut Edits) -> Result<Walked, FrameError> {
        let mut used = 0;
        loop {
            if self.body_bytes > 0 {
                let mut count = self.body_bytes.min(input.len() - used);
                if self.state == State::Command(Fate::HoldHead) {
                    count = count.min(self.head_bytes);
                    self.head_bytes -= count;
                }
                self.take(input.get(used..used + count).unwrap_or_default(), edits);
                self.body_bytes -= count;
                used += count;
                if self.state == State::Command(Fate::HoldHead) && self.head_bytes == 0 {
                    self.state = State::Undecided;
                    return Ok(Walked { used, event: Some(RequestEvent::Head) });
                }
                if self.body_bytes == 0
                    && let Some(event) = self.frame_end()
                {
                    return Ok(Walked { used, event: Some(event) });
                }
            }
            let rest = input.get_mut(used..).unwrap_or_default();
            if self.state == State::Over {
                edits.discard(rest.len());
                return Ok(Walked { used: used + rest.len(), event: None });
            }
            // With a whole head saved, the decision about it may have come in between.
            if rest.is_empty() && frame::peek(&self.partial).is_none() {
                return Ok(Walked { used, event: None });
            }
            let (count, event) = self.head(rest, edits)?;
            used += count;
            if event.is_some() {
                return Ok(Walked { used, event });
            }
        }
    }

    /// Takes a frame's header (and nothing else), reports it when it begins a command, or saves it
    /// when it is cut. Returns the bytes used.
    fn head(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
    ) -> Result<(usize, Option<RequestEvent>), FrameError> {
        if !self.partial.is_empty() {
            return self.head_in_pieces(input, edits);
        }
        let Some((header, first)) = frame::peek(input) else {
            self.partial.extend_from_slice(input);
            edits.discard(input.len());
            return Ok((input.len(), None));
        };
        if self.state == State::Idle {
            return self.command_head(header, first).map(|event| (0, Some(event)));
        }
        self.begin_frame(header)?;
        self.patch_seq(input);
        if self.goes_on() {
            edits.forward(HEADER_BYTES);
        } else {
            edits.discard(HEADER_BYTES);
        }
        Ok((HEADER_BYTES, if self.body_bytes == 0 { self.frame_end() } else { None }))
    }

    fn head_in_pieces(
        &mut self,
        input: &[u8],
        edits: &mut Edits,
    ) -> Result<(usize, Option<RequestEvent>), FrameError> {
        let mut used = 0;
        for byte in input {
            if frame::peek(&self.partial).is_some() {
                break;
            }
            self.partial.extend_from_slice(&[*byte]);
            used += 1;
        }
        edits.discard(used);
        let Some((header, first)) = frame::peek(&self.partial) else {
            return Ok((used, None));
        };
        if self.state == State::Idle {
            return self.command_head(header, first).map(|event| (used, Some(event)));
        }
        self.begin_frame(header)?;
        let mut head = std::mem::take(&mut self.partial);
        self.patch_seq(&mut head);
        if self.goes_on() {
            edits.send(Side::Backend, |out| out.extend_from_slice(&head));
        } else if let State::Command(Fate::Hold | Fate::HoldHead) = self.state {
            self.held.extend_from_slice(head.get(HEADER_BYTES..).unwrap_or_default());
            self.head_bytes = self.head_bytes.saturating_sub(head.len() - HEADER_BYTES);
        }
        self.body_bytes -= head.len() - HEADER_BYTES;
        Ok((used, if self.body_bytes == 0 { self.frame_end() } else { None }))
    }

    fn command_head(&mut self, header: Header, first: u8) -> Result<RequestEvent, FrameError> {
        if header.seq != 0 {
            return Err(FrameError::OutOfOrder);
        }
        self.continued = false;
        self.command_bytes = header.payload_bytes;
        self.state = State::Undecided;
        let command = if header.payload_bytes == 0 { None } else { Command::from_byte(first) };
        Ok(RequestEvent::Command(command))
    }

    fn begin_frame(&mut self, header: Header) -> Result<(), FrameError> {
        if self.continued && header.seq != self.last_seq.wrapping_add(1) {
            return Err(FrameError::OutOfOrder);
        }
        // The empty follower of a full frame ends that frame's packet, not the upload.
        self.upload_over = header.payload_bytes == 0 && !self.continued;
        self.last_seq = header.seq;
        self.continued = header.is_continued();
        self.body_bytes = header.payload_bytes;
        Ok(())
    }

    /// The current frame is complete.
    fn frame_end(&mut self) -> Option<RequestEvent> {
        if self.continued {
            return None;
        }
        match self.state {
            State::Upload { .. } if self.upload_over => {
                self.state = State::Idle;
                Some(RequestEvent::UploadEnd)
            }
            State::Command(fate) => {
                self.state = State::Idle;
                match fate {
                    Fate::Relay if self.last_seq == 0 => None,
                    Fate::Relay => Some(RequestEvent::Long { seq: self.answer_seq() }),
                    Fate::Refuse => Some(RequestEvent::Refused { seq: self.answer_seq() }),
                    Fate::Hold | Fate::HoldHead => Some(RequestEvent::Held),
                }
            }
            State::LastCommand { .. } => {
                self.state = State::Over;
                None
            }
            State::Upload { .. } | State::Idle | State::Undecided | State::Over => None,
        }
    }

    fn patch_seq(&self, frame: &mut [u8]) {
        if let (State::Upload { shift }, Some(seq)) = (self.state, frame.get_mut(HEADER_BYTES - 1))
        {
            *seq = seq.wrapping_sub(shift);
        }
    }

    /// Whether what is read now goes to the backend.
    #[inline]
    fn goes_on(&self) -> bool {
        !matches!(
            self.state,
            State::Command(Fate::Refuse | Fate::Hold | Fate::HoldHead)
                | State::LastCommand { goes_on: false }
        )
    }

    #[inline]
    fn take(&mut self, bytes: &[u8], edits: &mut Edits) {
        if self.goes_on() {
            edits.forward(bytes.len());
            return;
        }
        if let State::Command(Fate::Hold | Fate::HoldHead) = self.state {
            self.held.extend_from_slice(bytes);
        }
        edits.discard(bytes.len());
    }
}

#[cfg(test)]
mod tests;
