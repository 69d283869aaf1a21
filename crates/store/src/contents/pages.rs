//! Metadata pages in memory: a cache, of which nothing leaves that is still needed.
//!
//! Holds:
//!   PA1 a page that is dirty, being read or written, or used by something under way stays;
//!   PA2 a page that a checkpoint must still write as it is (`is_due`) is encoded before it
//!       changes.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::Oid;

use crate::error::Corruption;
use crate::format::meta_page::Entry;
use crate::format::page::PAGE_BYTES;
use crate::shape::PAGE_BLOCKS;

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageKey {
    pub(crate) oid: Oid,
    /// Number in the object: it describes the blocks from 256 times this.
    pub(crate) page: u32,
}

/// What is known of a page.
#[derive(Debug)]
pub(crate) enum State {
    /// It is being read.
    Loading,
    Ready(Box<[Entry]>),
    /// It cannot be read.
    Rotten(Corruption),
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) state: State,
    /// Which of its two copies on the disk is valid.
    pub(crate) copy: u8,
    /// It differs from the disk.
    pub(crate) is_dirty: bool,
    /// The running checkpoint has not encoded it yet (PA2).
    pub(crate) is_due: bool,
    /// Things under way that need it (PA1).
    uses: u32,
    touched: u64,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<PageKey, Page>,
    dirty: BTreeSet<PageKey>,
    clock: u64,
}

/// A page without blocks.
pub(crate) fn empty_entries() -> Box<[Entry]> {
    vec![Entry::ABSENT; PAGE_BLOCKS as usize].into_boxed_slice()
}

impl Pages {
    /// Uses a page, which thus stays until `release`. `None` if it is not here.
    pub(crate) fn retain(&mut self, key: PageKey) -> Option<&Page> {
        self.clock += 1;
        let page = self.pages.get_mut(&key)?;
        page.uses += 1;
        page.touched = self.clock;
        Some(page)
    }

    /// Puts a page there, with one use.
    pub(crate) fn insert(&mut self, key: PageKey, state: State, copy: u8) {
        self.clock += 1;
        let (is_dirty, is_due, uses, touched) = (false, false, 1, self.clock);
        self.pages.insert(key, Page { state, copy, is_dirty, is_due, uses, touched });
    }

    pub(crate) fn release(&mut self, key: PageKey) {
        if let Some(page) = self.pages.get_mut(&key) {
            page.uses -= 1;
        }
    }

    pub(crate) fn get(&self, key: PageKey) -> Option<&Page> {
        self.pages.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: PageKey) -> Option<&mut Page> {
        self.pages.get_mut(&key)
    }

    /// The entries of a page that is ready.
    pub(crate) fn entries(&self, key: PageKey) -> Option<&[Entry]> {
        match &self.pages.get(&key)?.state {
            State::Ready(entries) => Some(entries),
            State::Loading | State::Rotten(_) => None,
        }
    }

    /// The entries of a page that is ready, to be changed; it becomes dirty.
    pub(crate) fn change(&mut self, key: PageKey) -> Option<&mut [Entry]> {
        let page = self.pages.get_mut(&key)?;
        let State::Ready(entries) = &mut page.state else { return None };
        page.is_dirty = true;
        self.dirty.insert(key);
        Some(entries)
    }

    /// Pages of one object that are here.
    pub(crate) fn of(&self, oid: Oid) -> impl Iterator<Item = (PageKey, &Page)> {
        let range = PageKey { oid, page: 0 }..=PageKey { oid, page: u32::MAX };
        self.pages.range(range).map(|(key, page)| (*key, page))
    }

    /// An object is gone: its pages are forgotten, or empty where something under way uses
    /// them.
    pub(crate) fn forget(&mut self, oid: Oid) {
        let keys: Vec<PageKey> = self.of(oid).map(|(key, _)| key).collect();
        for key in keys {
            self.dirty.remove(&key);
            let Some(page) = self.pages.get_mut(&key) else { continue };
            if page.uses == 0 {
                self.pages.remove(&key);
                continue;
            }
            page.state = State::Ready(empty_entries());
            (page.copy, page.is_dirty, page.is_due) = (1, false, false);
        }
    }

    /// Pages that differ from the disk.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = PageKey> + '_ {
        self.dirty.iter().copied()
    }

    /// All pages become clean; those that the checkpoint writes become due, and the copy that
    /// it writes will be the valid one.
    pub(crate) fn begin_checkpoint(&mut self, due: &BTreeSet<PageKey>) {
        for key in std::mem::take(&mut self.dirty) {
            if let Some(page) = self.pages.get_mut(&key) {
                (page.is_dirty, page.is_due) = (false, due.contains(&key));
                page.copy = if page.is_due { 1 - page.copy } else { page.copy };
            }
        }
    }

    pub(crate) fn dirty_bytes(&self) -> u64 {
        (self.dirty.len() * PAGE_BYTES) as u64
    }

    /// Forgets the pages that were used longest ago until `max` bytes of clean ones are left,
    /// if it can.
    pub(crate) fn trim(&mut self, max: usize) {
        let limit = (max / PAGE_BYTES).max(1);
        let clean = self.pages.len() - self.dirty.len();
        if clean <= limit {
            return;
        }
        let is_idle = |page: &Page| !page.is_dirty && !page.is_due && page.uses == 0;
        let idle = self.pages.iter().filter(|(_, page)| is_idle(page));
        let mut idle: Vec<_> = idle.map(|(key, page)| (page.touched, *key)).collect();
        // A tenth more than needed, so that the next pages do not sort everything again.
        let surplus = clean - limit + limit / 10;
        if idle.len() > surplus {
            idle.select_nth_unstable(surplus);
            idle.truncate(surplus);
        }
        for (_, key) in idle {
            self.pages.remove(&key);
        }
    }
}
