//! Bytes of one fake file: as readers see them, and as they would be after a power cut.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::super::SECTOR_BYTES;
use super::Dice;

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// Most pages of most files are zeros that were allocated; they are all this one.
static ZEROS: LazyLock<Arc<[u8; PAGE_BYTES]>> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

/// Sparse bytes; a page that is not there is a hole of zeros. Copies share their pages until one
/// of them changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pages: Arc<BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>>,
    len: u64,
}

/// One change that a sync makes durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    Allocate { offset: u64, len: u64 },
    Punch { offset: u64, len: u64 },
    SetLen { len: u64 },
}

impl Change {
    fn range(&self) -> std::ops::Range<u64> {
        match self {
            Self::Write { offset, bytes } => *offset..offset + bytes.len() as u64,
            Self::Allocate { offset, len } | Self::Punch { offset, len } => *offset..offset + len,
            Self::SetLen { .. } => 0..u64::MAX,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (own, other) = (self.range(), other.range());
        own.start < other.end && other.start < own.end
    }
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Bytes,
    durable: Bytes,
    /// With their numbers, ascending.
    unsynced: Vec<(u64, Change)>,
    /// Changes so far.
    changes: u64,
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
        let pages = Arc::make_mut(&mut self.pages);
        let mut done = 0;
        while done < bytes.len() {
            let (page, start) = split(offset + done as u64);
            let step = (PAGE_BYTES - start).min(bytes.len() - done);
            let part = &bytes[done..done + step];
            match part.as_array::<PAGE_BYTES>() {
                Some(whole) if *whole == **ZEROS => {
                    pages.insert(page, ZEROS.clone());
                }
                Some(whole) => {
                    pages.insert(page, Arc::new(*whole));
                }
                None => change(pages, page)[start..start + step].copy_from_slice(part),
            }
            done += step;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn allocate(&mut self, offset: u64, len: u64) {
        let pages = Arc::make_mut(&mut self.pages);
        for page in pages_touched(offset, len) {
            pages.entry(page).or_insert_with(|| ZEROS.clone());
        }
        self.len = self.len.max(offset + len);
    }

    fn punch(&mut self, offset: u64, len: u64) {
        let end = (offset + len).min(self.len);
        let pages = Arc::make_mut(&mut self.pages);
        for page in pages_touched(offset, end.saturating_sub(offset)) {
            let from = offset.max(page * PAGE) - page * PAGE;
            let to = end.min((page + 1) * PAGE) - page * PAGE;
            if from == 0 && to == PAGE {
                pages.remove(&page);
            } else if pages.contains_key(&page) {
                change(pages, page)[from as usize..to as usize].fill(0);
            }
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, start) = split(len);
            let pages = Arc::make_mut(&mut self.pages);
            if pages.contains_key(&page) {
                change(pages, page)[start..].fill(0);
            }
            let whole = len.div_ceil(PAGE);
            pages.retain(|page, _| *page < whole);
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
        Self { live: durable.clone(), durable, ..Self::default() }
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
        self.unsynced.push((self.changes, change));
        self.changes += 1;
    }

    /// Changes so far: what a sync that begins now covers.
    pub(super) const fn mark(&self) -> u64 {
        self.changes
    }

    /// Makes durable what was there at a mark, and nothing that came later.
    pub(super) fn sync_up_to(&mut self, mark: u64) {
        let covered = self.unsynced.partition_point(|(number, _)| *number < mark);
        for (_, change) in self.unsynced.drain(..covered) {
            self.durable.apply(&change);
        }
    }

    /// Nothing that is not synced survives.
    pub(super) fn lose_unsynced(&mut self) {
        self.unsynced.clear();
        self.live = self.durable.clone();
    }

    /// Makes the last change durable alone; what was written before it is taken along where it
    /// could come out on top.
    pub(super) fn sync_last(&mut self) {
        let Some((_, change)) = self.unsynced.pop() else { return };
        if self.unsynced.iter().any(|(_, older)| older.overlaps(&change)) {
            self.sync();
        }
        self.durable.apply(&change);
    }

    pub(super) fn sync(&mut self) {
        for (_, change) in self.unsynced.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// The kernel forgets what it could not write (F3).
    pub(super) fn fail_sync(&mut self) {
        self.unsynced.clear();
    }

    /// F2: each unsynced change is kept, lost or torn.
    pub(super) fn power_cut(&mut self, dice: &mut Dice) {
        for (_, change) in std::mem::take(&mut self.unsynced) {
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

/// A page that is about to be changed.
fn change(pages: &mut BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>, page: u64) -> &mut [u8; PAGE_BYTES] {
    Arc::make_mut(pages.entry(page).or_insert_with(|| ZEROS.clone()))
}

fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE, (offset % PAGE) as usize)
}

fn pages_touched(offset: u64, len: u64) -> std::ops::Range<u64> {
    if len == 0 { 0..0 } else { offset / PAGE..(offset + len).div_ceil(PAGE) }
}
