//! The 96-byte header of every peer message.

use crate::block::checksum;
use crate::wire::{Reader, WireError, Writer};
use crate::{BLOCK_BYTES, Generation, Stamp, View};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 96;
/// Most blocks in one message: 4 MiB of data.
pub const BLOCKS_MAX: u32 = 1024;
/// Most entries in one list (unstable operations, oids).
pub const LIST_MAX: u32 = 1 << 20;

const MAGIC: u32 = 0x3150_4453; // "SDP1"
const VERSION: u8 = 1;
const CRC_OFFSET: usize = 92;

/// What a header says, its own checksum verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Kind of the message; replies have the top bit set.
    pub kind: u8,
    /// Status of a reply; zero in requests.
    pub status: u16,
    /// Chosen by the sender of the request, echoed in the reply.
    pub id: u64,
    /// Object; the VDI's first map object where only the VDI matters; zero in replies.
    pub oid: u64,
    /// View of the object's group that the sender acts under; the newer view in a refusal; the log
    /// index that a barrier waits for.
    pub view: View,
    /// Stamp of a mutation.
    pub stamp: Stamp,
    /// Every mutation of this generation up to here is on the whole write set.
    pub stable: Stamp,
    /// Fencing number of the attachment.
    pub generation: Generation,
    /// First block inside the object.
    pub first_block: u32,
    /// Blocks, or list entries.
    pub count: u32,
    /// Object size 2^this.
    pub object_shift: u8,
    /// An in-sync member that does not have the object shall refuse to change it.
    pub must_exist: bool,
    /// Data bytes that follow the metadata.
    pub data_bytes: u32,
    /// Metadata bytes that follow the header.
    pub meta_bytes: u32,
    /// Checksum of the metadata.
    pub meta_checksum: u32,
}

impl Header {
    /// The bytes.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(MAGIC).u8(VERSION).u8(self.kind).u16(self.status).u64(self.id).u64(self.oid);
        w.u64(self.view.0).u64(self.stamp.get()).u64(self.stable.get());
        w.u32(self.generation.0).u32(self.first_block).u32(self.count);
        // Role of an erasure-coded strip (always 0), then the authentication slot, both reserved.
        w.u8(self.object_shift).u8(0).u8(u8::from(self.must_exist)).zeros(1).zeros(16);
        w.u32(self.data_bytes).u32(self.meta_bytes).u32(self.meta_checksum);
        let mut bytes = w.finish();
        debug_assert_eq!(bytes.len(), CRC_OFFSET);
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a header and checks its checksum and bounds (M2, M3).
    ///
    /// # Errors
    /// Any error means that the connection can no longer be trusted and must be closed.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        if r.u32()? != MAGIC {
            return Err(WireError::Invalid("magic of a peer message"));
        }
        let version = r.u8()?;
        if version != VERSION {
            return Err(WireError::Version(u16::from(version)));
        }
        if checksum(&bytes[..CRC_OFFSET]).to_le_bytes() != bytes[CRC_OFFSET..] {
            return Err(WireError::Checksum("peer header"));
        }
        let mut header = Self {
            kind: r.u8()?,
            status: r.u16()?,
            id: r.u64()?,
            oid: r.u64()?,
            ..Self::default()
        };
        header.view = View(r.u64()?);
        header.stamp = Stamp::from_wire(r.u64()?);
        header.stable = Stamp::from_wire(r.u64()?);
        header.generation = Generation(r.u32()?);
        header.first_block = r.u32()?;
        header.count = r.u32()?;
        header.object_shift = r.u8()?;
        r.zeros(1)?;
        header.must_exist = match r.u8()? {
            0 => false,
            1 => true,
            _ => return Err(WireError::Invalid("flags of a peer message")),
        };
        r.zeros(17)?;
        header.data_bytes = r.u32()?;
        header.meta_bytes = r.u32()?;
        header.meta_checksum = r.u32()?;
        header.check_bounds()?;
        Ok(header)
    }

    fn check_bounds(&self) -> Result<(), WireError> {
        if self.generation.0 > Generation::MAX {
            return Err(WireError::Invalid("generation"));
        }
        if self.data_bytes as usize > BLOCKS_MAX as usize * BLOCK_BYTES {
            return Err(WireError::Invalid("data length"));
        }
        if self.meta_bytes > LIST_MAX * 32 {
            return Err(WireError::Invalid("metadata length"));
        }
        Ok(())
    }
}
