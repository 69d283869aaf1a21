//! Bytes of one fake file: as readers see them, and as they would be after a power cut.

use std::collections::BTreeMap;

use super::super::SECTOR_BYTES;
use super::Dice;

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// Sparse bytes; a page that is not there is a hole of zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    len: u64,
}

/// One change that a sync makes durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Allocate { offset: u64, len: u64 },
    Punch { offset: u64, len: u64 },
    SetLen { len: u64 },
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Bytes,
    durable: Bytes,
    unsynced: Vec<Change>,
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// Reads up to the end of the file; returns how much.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let (page, start) = split(offset + done as u64);
            let step = (PAGE_BYTES - start).min(count - done);
            match self.pages.get(&page) {
                Some(page) => bytes[done..done + step].copy_from_slice(&page[start..start + step]),
                None => bytes[done..done + step].fill(0),
            }
            done += step;
        }
        count
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, start) = split(offset + done as u64);
            let step = (PAGE_BYTES - start).min(bytes.len() - done);
            self.page(page)[start..start + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn page(&mut self, page: u64) -> &mut [u8; PAGE_BYTES] {
        self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]))
    }

    fn allocate(&mut self, offset: u64, len: u64) {
        for page in pages_touched(offset, len) {
            self.page(page);
        }
        self.len = self.len.max(offset + len);
    }

    fn punch(&mut self, offset: u64, len: u64) {
        let end = (offset + len).min(self.len);
        for page in pages_touched(offset, end.saturating_sub(offset)) {
            let from = offset.max(page * PAGE) - page * PAGE;
            let to = end.min((page + 1) * PAGE) - page * PAGE;
            if from == 0 && to == PAGE {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                bytes[from as usize..to as usize].fill(0);
            }
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, start) = split(len);
            if let Some(bytes) = self.pages.get_mut(&page) {
                bytes[start..].fill(0);
            }
            let whole = len.div_ceil(PAGE);
            self.pages.retain(|page, _| *page < whole);
        }
        self.len = len;
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => self.write(*offset, bytes),
            Change::Allocate { offset, len } => self.allocate(*offset, *len),
            Change::Punch { offset, len } => self.punch(*offset, *len),
            Change::SetLen { len } => self.set_len(*len),
        }
    }

    /// Applies what a power cut leaves of a change.
    fn apply_torn(&mut self, change: &Change, dice: &mut Dice) {
        let Change::Write { offset, bytes } = change else {
            return;
        };
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let sector = SECTOR_BYTES as u64;
            let step = ((sector - at % sector) as usize).min(bytes.len() - done);
            if dice.below(2) == 0 {
                self.write(at, &bytes[done..done + step]);
            }
            done += step;
        }
    }
}

impl Inode {
    pub(super) fn durable_from(bytes: &[u8]) -> Self {
        let mut durable = Bytes::default();
        durable.write(0, bytes);
        Self { live: durable.clone(), durable, unsynced: Vec::new() }
    }

    /// Bytes that a change allocates.
    pub(super) fn grows_by(&self, change: &Change) -> u64 {
        let (offset, len) = match change {
            Change::Write { offset, bytes } => (*offset, bytes.len() as u64),
            Change::Allocate { offset, len } => (*offset, *len),
            Change::Punch { .. } | Change::SetLen { .. } => return 0,
        };
        let missing = |page: &u64| !self.live.pages.contains_key(page);
        pages_touched(offset, len).filter(missing).count() as u64 * PAGE
    }

    pub(super) fn change(&mut self, change: Change) {
        self.live.apply(&change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// The kernel forgets what it could not write (F3).
    pub(super) fn fail_sync(&mut self) {
        self.unsynced.clear();
    }

    /// F2: each unsynced change is kept, lost or torn.
    pub(super) fn power_cut(&mut self, dice: &mut Dice) {
        for change in std::mem::take(&mut self.unsynced) {
            match dice.below(3) {
                0 => self.durable.apply(&change),
                1 => self.durable.apply_torn(&change, dice),
                _ => {}
            }
        }
        self.live = self.durable.clone();
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> bool {
        let mut byte = [0_u8];
        if self.live.read(offset, &mut byte) == 0 {
            return false;
        }
        let flipped = [byte[0] ^ (1 << (bit % 8))];
        self.live.write(offset, &flipped);
        self.durable.write(offset, &flipped);
        true
    }
}

fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE, (offset % PAGE) as usize)
}

fn pages_touched(offset: u64, len: u64) -> std::ops::Range<u64> {
    if len == 0 { 0..0 } else { offset / PAGE..(offset + len).div_ceil(PAGE) }
}
