//! Buffers: payload bytes, 4 KiB-aligned, owned, then shared without copying.
//!
//! Way: a face receives into a [`Buffer`]; `Buffer::share` turns it into a [`Payload`] that
//!      goes to every peer and to the store of this sheep without another copy.
//!      Large ones are kept by the thread that drops them, for the next: fresh memory costs a
//!      page fault for every 4 KiB, more than reading them costs.
//! Holds:
//!   B1 the first byte is aligned to 4096, as direct disk I/O wants it;
//!   B2 a `Payload` never changes.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use crate::BLOCK_BYTES;

/// Smaller ones are left to the allocator.
const KEPT_BYTES_MIN: usize = 64 << 10;
/// What one thread keeps at most, in bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { vectors: Vec::new(), bytes: 0 }) };
}

/// Memory of large buffers that were dropped.
struct Kept {
    vectors: Vec<Vec<u8>>,
    bytes: usize,
}

impl Kept {
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let place = self.vectors.iter().rposition(|vector| vector.len() == len)?;
        self.bytes -= len;
        Some(self.vectors.swap_remove(place))
    }

    fn give(&mut self, vector: Vec<u8>) {
        if self.bytes + vector.len() <= KEPT_BYTES_MAX {
            self.bytes += vector.len();
            self.vectors.push(vector);
        }
    }
}

/// Memory that was used before if there is some of this size; then it still has the bytes of then.
fn memory(len: usize) -> (Vec<u8>, bool) {
    if len < KEPT_BYTES_MIN {
        return (vec![0; len], false);
    }
    let len = len.next_multiple_of(KEPT_BYTES_MIN);
    let kept = KEPT.try_with(|kept| kept.borrow_mut().take(len)).ok().flatten();
    kept.map_or_else(|| (vec![0; len], false), |vector| (vector, true))
}

/// Owned and aligned.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let (mut bytes, was_used) = memory(len + BLOCK_BYTES - 1);
        if was_used {
            bytes.fill(0);
        }
        Self::new(bytes, len)
    }

    /// `len` bytes for somebody who writes over all of them: they may be what anybody had in a
    /// buffer before.
    #[must_use]
    pub fn for_reading(len: usize) -> Self {
        Self::new(memory(len + BLOCK_BYTES - 1).0, len)
    }

    fn new(bytes: Vec<u8>, len: usize) -> Self {
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

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() >= KEPT_BYTES_MIN {
            // A thread that ends keeps nothing.
            let _ = KEPT.try_with(|kept| kept.borrow_mut().give(bytes));
        }
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
    fn memory_for_reading_is_not_cleared() {
        let mut buffer = Buffer::for_reading(1 << 20);
        assert!(buffer.iter().all(|byte| *byte == 0));
        buffer.fill(7);
        let place = buffer.as_ptr();
        drop(buffer);
        let again = Buffer::for_reading(1 << 20);
        assert_eq!((again.as_ptr(), again[5]), (place, 7));
    }

    #[test]
    fn memory_that_was_used_before_is_zeros_again() {
        for len in [100 << 10, 1 << 20] {
            let mut buffer = Buffer::zeroed(len);
            buffer.fill(7);
            let place = buffer.as_ptr();
            drop(buffer);
            let again = Buffer::zeroed(len);
            assert_eq!(again.as_ptr(), place, "kept");
            assert!(again.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_thread_keeps_no_more_than_it_may() {
        let many: Vec<Buffer> = (0..40).map(|_| Buffer::zeroed(1 << 20)).collect();
        drop(many);
        let kept = KEPT.with(|kept| kept.borrow().bytes);
        assert!(kept <= KEPT_BYTES_MAX, "{kept}");
    }

    #[test]
    fn slices_of_slices_name_the_right_bytes() {
        let payload = Payload::from(&b"abcdefgh"[..]);
        assert_eq!(&*payload.slice(2..7).slice(1..3), b"de");
    }
}
