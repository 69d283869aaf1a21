//! The first exchange of a peer connection: who calls, which shard is wanted, which versions fit.

use crate::block::checksum;
use crate::wire::{Reader, WireError, Writer};
use crate::{Incarnation, NodeId};

/// Version of the peer protocol that this program speaks.
pub const PEER_VERSION: u16 = 1;
/// Feature bits that this program knows; none yet.
pub const FEATURES: u64 = 0;
/// Bytes of a hello.
pub const HELLO_BYTES: usize = 96;

const MAGIC: u32 = 0x4850_4453; // "SDPH"
const CRC_OFFSET: usize = 92;

/// Sent by the caller, answered by a hello of the called sheep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Cluster; both sides must agree.
    pub cluster: u128,
    /// Identity of the sender.
    pub uuid: u128,
    /// Number of the sender.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Oldest and newest protocol version it speaks.
    pub versions: (u16, u16),
    /// What it can do beyond that.
    pub features: u64,
    /// The caller's shard.
    pub source_shard: u16,
    /// The shard it wants to reach.
    pub target_shard: u16,
}

impl Hello {
    /// The bytes.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(MAGIC).u16(self.versions.0).u16(self.versions.1).u64(self.features);
        w.u128(self.cluster).u128(self.uuid).u64(self.incarnation.0);
        w.u16(self.node.0).u16(self.source_shard).u16(self.target_shard).zeros(2);
        // Authentication slot, reserved.
        w.zeros(28);
        let mut bytes = w.finish();
        debug_assert_eq!(bytes.len(), CRC_OFFSET);
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a hello.
    ///
    /// # Errors
    /// If it is no hello, is damaged, or its versions do not include ours.
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        if r.u32()? != MAGIC {
            return Err(WireError::Invalid("magic of a peer hello"));
        }
        if checksum(&bytes[..CRC_OFFSET]).to_le_bytes() != bytes[CRC_OFFSET..] {
            return Err(WireError::Checksum("peer hello"));
        }
        let versions = (r.u16()?, r.u16()?);
        if !(versions.0..=versions.1).contains(&PEER_VERSION) {
            return Err(WireError::Version(versions.1));
        }
        let features = r.u64()?;
        let (cluster, uuid) = (r.u128()?, r.u128()?);
        let incarnation = Incarnation(r.u64()?);
        let (node, source_shard, target_shard) = (NodeId(r.u16()?), r.u16()?, r.u16()?);
        r.zeros(30)?;
        Ok(Self {
            cluster,
            uuid,
            node,
            incarnation,
            versions,
            features,
            source_shard,
            target_shard,
        })
    }
}
