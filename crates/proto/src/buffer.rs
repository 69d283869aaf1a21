//! Buffers: payload bytes, 4 KiB-aligned, owned, then shared without copying.
//!
//! Way: a face receives into a [`Buffer`]; `Buffer::share` turns it into a [`Payload`] that
//!      goes to every peer and to the store of this sheep without another copy.
//! Holds:
//!   B1 the first byte is aligned to 4096, as direct disk I/O wants it;
//!   B2 a `Payload` never changes.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use crate::BLOCK_BYTES;

/// Owned, aligned, zero-filled when made.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let bytes = vec![0_u8; len + BLOCK_BYTES - 1];
        // The heap block of a `Vec` that is never grown does not move, so the offset stays right.
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES - 1);
        Self { bytes, start, len }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// Gives up the right to change the bytes.
    #[must_use]
    pub fn share(self) -> Payload {
        let range = 0..self.len;
        Payload { buffer: Arc::new(self), range }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// Immutable bytes, or a part of them, shared between threads.
#[derive(Clone)]
pub struct Payload {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Payload {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Buffer::zeroed(0).share()
    }

    /// A part of these bytes, without a copy.
    ///
    /// # Panics
    /// If `range` does not lie inside: that is a mistake of the caller, never of outside input.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "slice outside a payload");
        let start = self.range.start;
        Self { buffer: self.buffer.clone(), range: start + range.start..start + range.end }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Buffer::copy_of(bytes).share()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_and_exact() {
        for len in [0, 1, 511, 4096, 4097, 1 << 20] {
            let buffer = Buffer::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0);
        }
    }

    #[test]
    fn slices_of_slices_name_the_right_bytes() {
        let payload = Payload::from(&b"abcdefgh"[..]);
        assert_eq!(&*payload.slice(2..7).slice(1..3), b"de");
    }
}
