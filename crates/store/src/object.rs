//! Object files: one file per object, `obj/<partition>/<oid>`, both in hex.
//!
//! Why: a block's stamp and checksum must be found with its bytes, and a crash in the middle
//!      of changing them must cost nothing.
//! Way: header sector, metadata pages of one sector each, then the blocks, sparse
//!      (`docs/formats/object-file.md`). `cache` loads and keeps them; `contents` changes them.
//! Holds:
//!   O1 header and pages are single sectors, which a disk writes whole or not at all, so a
//!      sector whose checksum fails is rot and never a torn write;
//!   O2 what was not verified is not used: `RawHeader` and `RawPage` become `Header` and `Page`.
//! Not here: when a change may be made (contents), what makes it durable (journal).

pub(crate) mod cache;
pub(crate) mod header;
pub(crate) mod page;
pub(crate) mod shape;

use std::collections::BTreeSet;

use sheepdog_proto::{Oid, Stamp, View};

use crate::disk::FileId;
use crate::error::{Corruption, Refusal, StoreError};
use header::Header;
use page::{Entry, Page, PageSlot};
use shape::Shape;

/// Directory of the object files.
pub(crate) const OBJECTS_DIR: &str = "obj";
/// Directory of object files that no commit has named yet; emptied at every open.
pub(crate) const NEW_DIR: &str = "new";

/// An object's metadata in memory, and its open file.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) file: FileId,
    pub(crate) header: Header,
    pub(crate) pages: Vec<PageSlot>,
    /// Blocks that are data or hole.
    pub(crate) present: u32,
    /// Pages that cannot be read.
    pub(crate) rotten: u32,
    /// Whether `obj/` has a file of this name, this one or one that it replaces.
    pub(crate) is_named: bool,
    /// Whether this file still lies in `new/`.
    pub(crate) is_new: bool,
    /// Whether the file was changed since its last sync.
    pub(crate) is_dirty: bool,
    pub(crate) header_changed: bool,
    pub(crate) changed_pages: BTreeSet<u32>,
    /// When it was last used, for the cache.
    pub(crate) used: u64,
}

impl Object {
    /// An object without blocks, in a file that is still in `new/`.
    pub(crate) fn fresh(file: FileId, header: Header, is_named: bool) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(header.shape.pages() as usize, PageSlot::default);
        Self {
            file,
            header,
            pages,
            present: 0,
            rotten: 0,
            is_named,
            is_new: true,
            is_dirty: true,
            header_changed: true,
            changed_pages: BTreeSet::new(),
            used: 0,
        }
    }

    /// An object as it was found on the disk.
    pub(crate) fn loaded(file: FileId, header: Header, pages: Vec<PageSlot>) -> Self {
        let present = pages.iter().map(PageSlot::present).sum();
        let rotten = pages.iter().filter(|slot| slot.is_rotten()).count() as u32;
        Self {
            present,
            rotten,
            pages,
            is_new: false,
            is_named: true,
            is_dirty: false,
            header_changed: false,
            ..Self::fresh(file, header, true)
        }
    }

    pub(crate) fn oid(&self) -> Oid {
        self.header.oid
    }

    pub(crate) fn shape(&self) -> Shape {
        self.header.shape
    }

    /// Whether the object is there at all: a file without blocks is about to be removed.
    pub(crate) fn exists(&self) -> bool {
        self.present > 0 || self.rotten > 0
    }

    /// What is known of a block.
    pub(crate) fn entry(&self, block: u32) -> Result<Entry, Corruption> {
        let (page, place) = Shape::page_of(block);
        match self.pages.get(page as usize) {
            Some(PageSlot::Page(page)) => Ok(page.entry(place)),
            Some(PageSlot::Rotten(why)) => {
                Err(Corruption::Page { oid: self.oid(), page, why: *why })
            }
            Some(PageSlot::Empty) | None => Ok(Entry::ABSENT),
        }
    }

    /// Changes what is known of a block whose page is readable.
    pub(crate) fn set_entry(&mut self, block: u32, entry: Entry) {
        let (number, place) = Shape::page_of(block);
        let slot = &mut self.pages[number as usize];
        if matches!(slot, PageSlot::Empty) {
            *slot = PageSlot::Page(Box::new(Page::empty(self.header.oid, number)));
        }
        let PageSlot::Page(page) = slot else {
            return;
        };
        let before = page.entry(place);
        page.set_entry(place, entry);
        self.present += u32::from(entry.is_present());
        self.present -= u32::from(before.is_present());
        self.changed_pages.insert(number);
    }

    /// The first unreadable page, if there is one.
    pub(crate) fn check_pages(&self) -> Result<(), Corruption> {
        for (page, slot) in self.pages.iter().enumerate() {
            if let PageSlot::Rotten(why) = slot {
                return Err(Corruption::Page { oid: self.oid(), page: page as u32, why: *why });
            }
        }
        Ok(())
    }

    /// Raises the view of the last change. True if it was older.
    pub(crate) fn raise_view(&mut self, view: View) -> bool {
        let rises = view > self.header.modified;
        if rises {
            self.header.modified = view;
            self.header_changed = true;
        }
        rises
    }

    pub(crate) fn set_base(&mut self, base: Stamp) {
        self.header.base = base;
        self.header_changed = true;
    }

    /// Whether memory holds what the file does not (C1).
    pub(crate) fn is_pinned(&self) -> bool {
        self.header_changed || !self.changed_pages.is_empty() || self.is_new || !self.exists()
    }
}

/// Where an object file is, once a commit has named it.
pub(crate) fn object_path(oid: Oid) -> String {
    format!("{}/{oid}", object_dir(oid))
}

/// The directory of an object file.
pub(crate) fn object_dir(oid: Oid) -> String {
    format!("{OBJECTS_DIR}/{:02x}", oid.partition(shape::PARTITION_BITS).0)
}

/// Where an object file is until a commit has named it.
pub(crate) fn new_path(oid: Oid) -> String {
    format!("{NEW_DIR}/{oid}")
}

/// Whether `count` blocks from `first_block` lie inside an object of this shape.
pub(crate) fn check_range(
    oid: Oid,
    shape: Shape,
    first_block: u32,
    count: u32,
) -> Result<(), StoreError> {
    let end = first_block.checked_add(count);
    if count == 0 || end.is_none_or(|end| end > shape.blocks()) {
        return Err(Refusal::Range { oid, first_block, count }.into());
    }
    Ok(())
}
