//! Reading and writing little-endian fields without ever trusting a length.
//!
//! Holds:
//!   W1 a [`Reader`] never reads past its bytes and never panics: a short input is an error;
//!   W2 nothing is allocated by a claimed length before that many bytes were seen.

use std::fmt;

/// Why bytes could not be understood. The text names the field or the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Fewer bytes than the format needs.
    Short,
    /// A field has a value the format does not allow.
    Invalid(&'static str),
    /// A checksum does not match.
    Checksum(&'static str),
    /// Another version of the format.
    Version(u16),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("too few bytes"),
            Self::Invalid(what) => write!(f, "invalid {what}"),
            Self::Checksum(what) => write!(f, "checksum of {what} does not match"),
            Self::Version(version) => write!(f, "unknown version {version}"),
        }
    }
}

impl std::error::Error for WireError {}

/// Takes fields from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not yet taken.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// `Short` if there are fewer.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `Short` if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// `Short` at the end.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// `Short` at the end.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// `Short` at the end.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// `Short` at the end.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Sixteen bytes, little-endian.
    ///
    /// # Errors
    /// `Short` at the end.
    pub fn u128(&mut self) -> Result<u128, WireError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// A text with a two-byte length in front.
    ///
    /// # Errors
    /// `Short`, or `Invalid` if it is no UTF-8.
    pub fn text(&mut self) -> Result<String, WireError> {
        let len = usize::from(self.u16()?);
        let bytes = self.bytes(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::Invalid("UTF-8 text"))?;
        Ok(text.to_owned())
    }

    /// `count` bytes that must all be zero.
    ///
    /// # Errors
    /// `Short`, or `Invalid` if one is set.
    pub fn zeros(&mut self, count: usize) -> Result<(), WireError> {
        if self.bytes(count)?.iter().any(|byte| *byte != 0) {
            return Err(WireError::Invalid("reserved bytes"));
        }
        Ok(())
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// `Invalid` if bytes remain.
    pub fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Invalid("trailing bytes")) }
    }
}

/// Appends fields to a byte vector.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Plain bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Sixteen bytes, little-endian.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A text with a two-byte length in front; cut at a character border beyond 65,535 bytes.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let end = text.floor_char_boundary(usize::from(u16::MAX).min(text.len()));
        let cut = &text.as_bytes()[..end];
        self.u16(cut.len() as u16).bytes(cut)
    }

    /// `count` zero bytes.
    pub fn zeros(&mut self, count: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + count, 0);
        self
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
