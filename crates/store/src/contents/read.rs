//! Reading: blocks, stamps, lists.
//!
//! Holds:
//!   RD1 every byte of a data block was verified against its checksum after it was read;
//!   RD2 a read sees the changes of its batch that come before it.

use sheepdog_proto::{BLOCK_BYTES, Buffer, Oid, Stamp, block_checksum};

use super::{Contents, Stage, runs};
use crate::disk::FileId;
use crate::error::{Corruption, StoreError};
use crate::object::check_range;
use crate::object::shape::Shape;
use crate::request::{Block, BlockState, Listing, ObjectSummary, ReadReply};

/// What is known of some blocks of an object.
struct Known {
    base: Stamp,
    blocks: Vec<Block>,
    file: Option<(FileId, Shape)>,
}

impl Contents {
    /// Blocks with their bytes.
    pub(crate) fn read(
        &mut self,
        stage: &Stage,
        oid: Oid,
        first_block: u32,
        count: u32,
    ) -> Result<ReadReply, StoreError> {
        let Known { base, blocks, file } = self.known(stage, oid, first_block, count)?;
        let mut data = Buffer::zeroed(count as usize * BLOCK_BYTES);
        let range = |from: u32, to: u32| {
            (from - first_block) as usize * BLOCK_BYTES..(to - first_block) as usize * BLOCK_BYTES
        };
        let mut from_file = Vec::new();
        for (block, known) in (first_block..).zip(&blocks) {
            match stage.blocks.get(&(oid, block)) {
                Some(bytes) => data[range(block, block + 1)].copy_from_slice(bytes), // RD2
                None if matches!(known.state, BlockState::Data { .. }) => from_file.push(block),
                None => {}
            }
        }
        if let Some((file, shape)) = file {
            for run in runs(from_file) {
                let bytes = &mut data[range(run.start, run.end)];
                self.disk.read_at(file, shape.block_offset(run.start), bytes)?;
            }
        }
        for (block, known) in (first_block..).zip(&blocks) {
            let BlockState::Data { checksum } = known.state else {
                continue;
            };
            if block_checksum(oid, block, &data[range(block, block + 1)]) != checksum {
                return Err(Corruption::Block { oid, block }.into()); // RD1
            }
        }
        Ok(ReadReply { base, blocks, data: data.share() })
    }

    /// Blocks without their bytes.
    pub(crate) fn stamps(
        &mut self,
        stage: &Stage,
        oid: Oid,
        first_block: u32,
        count: u32,
    ) -> Result<(Stamp, Vec<Block>), StoreError> {
        let known = self.known(stage, oid, first_block, count)?;
        Ok((known.base, known.blocks))
    }

    fn known(
        &mut self,
        stage: &Stage,
        oid: Oid,
        first_block: u32,
        count: u32,
    ) -> Result<Known, StoreError> {
        check_range(oid, Shape::LARGEST, first_block, count)?;
        let base = self.base_of(stage, oid)?;
        let Some(object) = self.existing(stage, oid)? else {
            let absent = Block { stamp: base, state: BlockState::Absent };
            return Ok(Known { base, blocks: vec![absent; count as usize], file: None });
        };
        check_range(oid, object.shape(), first_block, count)?;
        let mut blocks = Vec::with_capacity(count as usize);
        for block in first_block..first_block + count {
            blocks.push(object.entry(block)?.seen_from(base));
        }
        Ok(Known { base, blocks, file: Some((object.file, object.shape())) })
    }

    /// Up to `limit` objects above `after`, in order, but at least one.
    pub(crate) fn list(
        &mut self,
        stage: &Stage,
        after: Option<Oid>,
        limit: usize,
    ) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let mut cursor = after;
        let mut last = None;
        let mut count = 0;
        while let Some(oid) = self.objects.oid_after(cursor) {
            cursor = Some(oid);
            let found = match self.summary(stage, oid) {
                Ok(None) => continue,
                found => found,
            };
            if count == limit.max(1) {
                listing.next = last;
                break;
            }
            match found {
                Ok(summary) => listing.objects.extend(summary),
                Err(StoreError::Corrupt(why)) => listing.rotten.push((oid, why)),
                Err(error) => return Err(error),
            }
            last = Some(oid);
            count += 1;
        }
        Ok(listing)
    }

    fn summary(&mut self, stage: &Stage, oid: Oid) -> Result<Option<ObjectSummary>, StoreError> {
        let Some(object) = self.existing(stage, oid)? else {
            return Ok(None);
        };
        object.check_pages()?;
        Ok(Some(ObjectSummary {
            oid,
            object_shift: object.shape().shift(),
            base: object.header.base,
            modified: object.header.modified,
            blocks: object.present,
        }))
    }
}
