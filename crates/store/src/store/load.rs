//! Loading of metadata pages: each request's pages are read while it waits for its turn.

use std::collections::BTreeSet;

use sheepdog_proto::Buffer;

use super::Store;
use super::work::Work;
use crate::contents::pages::{PageKey, State, empty_entries};
use crate::disk::Operation;
use crate::error::{Corruption, StoreError};
use crate::format::meta_page;
use crate::format::page::{PAGE_BYTES, choose_copy, copy_offset};
use crate::request::{Request, Unstable};
use crate::shape::{FRAGMENT_PAGES, Shape, check_range, pages_of};

/// Whether a request's pages are here.
pub(super) enum Pages {
    Ready,
    Loading,
    Rotten(Corruption),
}

impl Store {
    /// Keeps the pages that a request needs in memory, and begins to read what is missing.
    pub(super) fn want_pages(&mut self, request: &Request) -> Vec<PageKey> {
        let keys = self.pages_needed(request);
        for key in &keys {
            self.want_page(*key);
        }
        keys
    }

    fn want_page(&mut self, key: PageKey) {
        if self.contents.pages.retain(key).is_some() {
            return;
        }
        let Some((slot, version)) = self.contents.stored_page(key) else {
            self.contents.pages.insert(key, State::Ready(empty_entries()), 1);
            return;
        };
        self.contents.pages.insert(key, State::Loading, 0);
        let header = meta_page::header(key.oid, key.page, slot, version);
        let offset = copy_offset(header.number, 0);
        let buffer = Buffer::zeroed(2 * PAGE_BYTES);
        let operation = Operation::Read { file: self.files.meta, offset, buffer };
        self.begin(Work::Load(key, header), operation);
        self.statistics.read_pages += 1;
    }

    pub(super) fn release_pages(&mut self, keys: &[PageKey]) {
        for key in keys {
            self.contents.pages.release(*key);
        }
    }

    fn pages_needed(&self, request: &Request) -> Vec<PageKey> {
        let (oid, first, count) = match request {
            Request::Write { oid, first_block, checksums, .. } => {
                (*oid, *first_block, checksums.len() as u32)
            }
            Request::Hole { oid, first_block, count, .. }
            | Request::Read { oid, first_block, count }
            | Request::Stamps { oid, first_block, count } => (*oid, *first_block, *count),
            Request::Reset { oid, stamp, .. } => {
                let newest = self.pending.newest(&self.contents, *oid);
                let object = self.contents.objects.get(oid);
                return match object {
                    // Something is newer and stays: which blocks, only the pages know.
                    Some(object) if newest >= *stamp => {
                        let pages = (object.fragments.len() * FRAGMENT_PAGES) as u32;
                        let keys = (0..pages).map(|page| PageKey { oid: *oid, page });
                        keys.filter(|key| self.contents.stored_page(*key).is_some()).collect()
                    }
                    _ => Vec::new(),
                };
            }
            Request::List { .. }
            | Request::Unstable { .. }
            | Request::Watermark { .. }
            | Request::Settle { .. }
            | Request::Forget { .. }
            | Request::UnstableIn { .. }
            | Request::UnstableAll
            | Request::UnstableOf { .. }
            | Request::Drop { .. }
            | Request::Raise { .. } => return Vec::new(),
            Request::Undo { changes } => return pages_of_changes(changes),
            Request::Settled(inner) | Request::Existing(inner) => return self.pages_needed(inner),
        };
        if check_range(oid, Shape::LARGEST, first, count).is_err() {
            return Vec::new(); // It will be refused.
        }
        pages_of(first, count).map(|page| PageKey { oid, page }).collect()
    }

    /// Whether the pages of the request at the front are here. What became necessary since it
    /// was queued is begun.
    pub(super) fn front_pages(&mut self) -> Pages {
        let Some(front) = self.queue.front() else { return Pages::Ready };
        let needed = self.pages_needed(&front.request);
        let missing: Vec<PageKey> =
            needed.into_iter().filter(|key| !front.pages.contains(key)).collect();
        for key in &missing {
            self.want_page(*key);
        }
        let Some(front) = self.queue.front_mut() else { return Pages::Ready };
        front.pages.extend(missing);
        for key in &front.pages {
            match self.contents.pages.get(*key).map(|page| &page.state) {
                Some(State::Ready(_)) | None => {}
                Some(State::Loading) => return Pages::Loading,
                Some(State::Rotten(why)) => return Pages::Rotten(why.clone()),
            }
        }
        Pages::Ready
    }

    /// A page has been read.
    pub(super) fn take_page(
        &mut self,
        key: PageKey,
        header: crate::format::page::PageHeader,
        result: Result<Buffer, StoreError>,
    ) {
        let wanted = self.contents.stored_page(key);
        let wanted =
            wanted.map(|(slot, version)| meta_page::header(key.oid, key.page, slot, version));
        let Some(page) = self.contents.pages.get_mut(key) else { return };
        if !matches!(page.state, State::Loading) || wanted != Some(header) {
            return; // The object went away meanwhile; it may be back, and its page be read again.
        }
        let loaded = result.map_err(|_| Corruption::Unreadable { oid: key.oid, page: key.page });
        let loaded = loaded.and_then(|both| {
            let rotten = |[first, second]: [_; 2]| Corruption::Page {
                oid: key.oid,
                page: key.page,
                first,
                second,
            };
            let (copy, bytes) = choose_copy(&header, self.contents.salt, &both).map_err(rotten)?;
            let entries = meta_page::decode(bytes).map_err(|why| rotten([why; 2]))?;
            Ok((copy, entries))
        });
        match loaded {
            Ok((copy, entries)) => {
                page.copy = copy;
                page.state = State::Ready(entries.into_boxed_slice());
            }
            Err(why) => {
                page.state = State::Rotten(why.clone());
                self.contents.rotten.insert(key.oid, why);
            }
        }
    }
}

/// Pages of the blocks that changes name.
fn pages_of_changes(changes: &[Unstable]) -> Vec<PageKey> {
    let named = changes.iter().filter(|change| change.count > 0);
    let pages = |change: &Unstable| {
        let oid = change.oid;
        pages_of(change.first_block, change.count).map(move |page| PageKey { oid, page })
    };
    let keys: BTreeSet<PageKey> = named.flat_map(pages).collect();
    keys.into_iter().collect()
}
