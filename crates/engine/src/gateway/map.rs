//! The map of an attached VDI: which of its objects exist. The owner's copy is the truth.
//!
//! Way: read from the map object at attach; changed in pages of one block (1,024 entries), each
//!      written whole from here, one write per page at a time; changes that come meanwhile go
//!      together into the next one.
//! Holds:
//!   P1 an entry counts as durable only after a write of its page that contains it has ended;
//!   P2 nobody but the owner changes the map (MAP-OWNER).

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{BLOCK_BYTES, Buffer, Payload, Vid};

/// Entries of one page.
pub(super) const PAGE_ENTRIES: u32 = (BLOCK_BYTES / 4) as u32;

#[derive(Debug, Default)]
struct Page {
    entries: BTreeMap<u32, u32>,
    /// Changed since the write in flight (or the last one) was made.
    dirty: bool,
    in_flight: bool,
    /// Entries and pieces of the write in flight.
    writing: (BTreeSet<u32>, Vec<u64>),
    /// Entries and pieces of the next one.
    next: (BTreeSet<u32>, Vec<u64>),
}

/// The map in memory.
#[derive(Debug)]
pub(super) struct VdiMap {
    vid: Vid,
    pages: BTreeMap<u32, Page>,
    /// Pages that are dirty and not in flight.
    writable: BTreeSet<u32>,
}

impl VdiMap {
    pub(super) const fn new(vid: Vid) -> Self {
        Self { vid, pages: BTreeMap::new(), writable: BTreeSet::new() }
    }

    /// Takes over a page as it was read.
    pub(super) fn load(&mut self, page: u32, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<4>();
        let entries: BTreeMap<u32, u32> = words
            .iter()
            .zip(page * PAGE_ENTRIES..)
            .map(|(word, index)| (index, u32::from_le_bytes(*word)))
            .filter(|(_, value)| *value != 0)
            .collect();
        if !entries.is_empty() {
            self.pages.entry(page).or_default().entries = entries;
        }
    }

    /// The entry, zero if the object does not exist.
    pub(super) fn get(&self, index: u32) -> u32 {
        let page = self.pages.get(&(index / PAGE_ENTRIES));
        page.and_then(|page| page.entries.get(&index)).copied().unwrap_or(0)
    }

    /// The object exists, or is being made.
    pub(super) fn has(&self, index: u32) -> bool {
        self.get(index) == self.vid.get()
    }

    /// The object exists and its entry is durable (P1).
    pub(super) fn is_durable(&self, index: u32) -> bool {
        let Some(page) = self.pages.get(&(index / PAGE_ENTRIES)) else { return false };
        self.has(index) && !page.writing.0.contains(&index) && !page.next.0.contains(&index)
    }

    /// Number of objects that exist.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.pages.values().map(|page| page.entries.len() as u64).sum()
    }

    /// Sets or clears an entry; `piece` is told when that is durable.
    pub(super) fn change(&mut self, index: u32, exists: bool, piece: Option<u64>) {
        let page = self.pages.entry(index / PAGE_ENTRIES).or_default();
        if exists {
            page.entries.insert(index, self.vid.get());
        } else {
            page.entries.remove(&index);
        }
        page.dirty = true;
        page.next.0.insert(index);
        page.next.1.extend(piece);
        if !page.in_flight {
            self.writable.insert(index / PAGE_ENTRIES);
        }
    }

    /// `piece` needs the entry durable, which another piece has set already.
    pub(super) fn wait(&mut self, index: u32, piece: u64) {
        let page = self.pages.entry(index / PAGE_ENTRIES).or_default();
        let waiting = if page.next.0.contains(&index) { &mut page.next } else { &mut page.writing };
        waiting.1.push(piece);
    }

    /// A page that wants to be written and may be, with its bytes.
    pub(super) fn start_write(&mut self) -> Option<(u32, Payload)> {
        let number = self.writable.pop_first()?;
        let page = self.pages.get_mut(&number)?;
        page.dirty = false;
        page.in_flight = true;
        page.writing = std::mem::take(&mut page.next);
        Some((number, self.page_bytes(number).share()))
    }

    /// The write of a page has ended; returns the pieces that waited for it.
    pub(super) fn finish_write(&mut self, number: u32) -> Vec<u64> {
        let Some(page) = self.pages.get_mut(&number) else { return Vec::new() };
        page.in_flight = false;
        let (_, pieces) = std::mem::take(&mut page.writing);
        if page.dirty {
            self.writable.insert(number);
        }
        pieces
    }

    /// Nothing waits to be written or is being written.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.pages.values().all(|page| !page.dirty && !page.in_flight)
    }

    /// Bytes `offset ..` of the map as old clients see it.
    pub(super) fn bytes(&self, offset: u32, len: u32) -> Buffer {
        let mut buffer = Buffer::zeroed(len as usize);
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(len));
        let pages = offset / BLOCK_BYTES as u32..=(end / BLOCK_BYTES as u64) as u32;
        for (_, page) in self.pages.range(pages) {
            for (index, value) in &page.entries {
                for (byte, at) in value.to_le_bytes().iter().zip(u64::from(*index) * 4..) {
                    if (start..end).contains(&at) {
                        buffer[(at - start) as usize] = *byte;
                    }
                }
            }
        }
        buffer
    }

    fn page_bytes(&self, number: u32) -> Buffer {
        self.bytes(number * BLOCK_BYTES as u32, BLOCK_BYTES as u32)
    }
}

#[cfg(test)]
#[path = "map/tests.rs"]
mod tests;
