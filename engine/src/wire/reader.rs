//! Reading fields off a payload.
//!
//! Purpose: the few shapes every packet is made of (little-endian integers, length-encoded
//! integers and strings, NUL-terminated strings).
//! Never: copy, allocate, or read past the end: a payload that is too short is [`Malformed`].

/// A payload that no server or client may send. The text names what was wrong, in Weir's words:
/// it holds nothing the peer chose, so it may be logged and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {what}")]
pub struct Malformed {
    /// What was wrong.
    pub what: &'static str,
}

impl Malformed {
    /// Names what was wrong.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what }
    }
}

/// A position in a payload. Each read takes bytes off the front or fails and takes none.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// What [`Malformed`] says when the payload ends too early.
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `payload`.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self::named(payload, "a field runs past the end")
    }

    /// The same, with its own words for a payload that ends too early.
    #[must_use]
    pub const fn named(payload: &'a [u8], what: &'static str) -> Self {
        Self { rest: payload, what }
    }

    /// Bytes not read yet, without taking them.
    #[must_use]
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// Fewer remain.
    pub const fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Malformed::new(self.what)),
        }
    }

    /// The next `N` bytes, as an array.
    ///
    /// # Errors
    /// Fewer remain.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(Malformed::new(self.what)),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// Nothing remains.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// Fewer remain.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, little-endian.
    ///
    /// # Errors
    /// Fewer remain.
    pub fn u24(&mut self) -> Result<u32, Malformed> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// Fewer remain.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// Fewer remain.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-encoded integer: one byte up to 0xFA, else FC, FD or FE and 2, 3 or 8 bytes.
    ///
    /// # Errors
    /// The payload ends inside it, or it begins with FB (NULL, which is only legal as a value of
    /// a row) or FF (an error packet).
    pub fn lenenc_int(&mut self) -> Result<u64, Malformed> {
        let before = *self;
        let value = match self.u8()? {
            0xFC => self.u16().map(u64::from),
            0xFD => self.u24().map(u64::from),
            0xFE => self.u64(),
            0xFB | 0xFF => Err(Malformed::new("a length begins with FB or FF")),
            small => Ok(u64::from(small)),
        };
        if value.is_err() {
            *self = before;
        }
        value
    }

    /// Bytes behind their length-encoded length.
    ///
    /// # Errors
    /// The length is malformed or says more than remains.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let before = *self;
        let length = self.lenenc_int()?;
        // A length beyond the address space is beyond the payload too.
        let taken = self.bytes(usize::try_from(length).unwrap_or(usize::MAX));
        if taken.is_err() {
            *self = before;
        }
        taken
    }

    /// Bytes up to a NUL, which is taken and left out.
    ///
    /// # Errors
    /// No NUL remains.
    pub fn nul_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr(0, self.rest).ok_or(Malformed::new(self.what))?;
        let taken = self.bytes(end)?;
        self.bytes(1)?;
        Ok(taken)
    }

    /// Bytes up to a NUL, or all that remain: real clients leave out the last NUL of a packet.
    pub fn nul_bytes_or_rest(&mut self) -> &'a [u8] {
        self.nul_bytes().unwrap_or_else(|_| self.rest())
    }

    /// Everything that remains.
    pub const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }
}
