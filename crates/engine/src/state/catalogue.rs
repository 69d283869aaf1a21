//! The catalogue: VDIs by id and by name, and who writes each of them.
//!
//! Holds:
//!   K1 names of working VDIs are unique;
//!   K2 a vid, once given, is never given again (VID-QUARANTINE, in its simplest form);
//!   K3 generations of a vid only rise.

use std::collections::BTreeMap;
use std::sync::Arc;

use sheepdog_proto::command::NAME_BYTES_MAX;
use sheepdog_proto::{Generation, Incarnation, LogIndex, NodeId, PolicyId, Vid};

use super::{OBJECT_SHIFTS, Outcome, Refused};

/// Most objects of one VDI.
pub const SIZE_OBJECTS_MAX: u64 = 1 << 20;

/// The single writer of a VDI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Owner.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Fencing number.
    pub generation: Generation,
    /// The log entry that made it; a barrier waits for this index.
    pub index: LogIndex,
    /// When, nanoseconds since 1970.
    pub since_ns: u64,
}

/// One VDI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdi {
    /// Id.
    pub vid: Vid,
    /// 1 to 255 bytes.
    pub name: String,
    /// Empty for a working VDI.
    pub tag: String,
    /// Bytes.
    pub size: u64,
    /// Redundancy class.
    pub policy: PolicyId,
    /// Object size is 2^this.
    pub object_shift: u8,
    /// Nanoseconds since 1970.
    pub created_ns: u64,
    /// 0 for a working VDI.
    pub snapshot_ns: u64,
    /// What old clients call the snapshot id.
    pub snap_id: u32,
    /// What it was cloned from.
    pub parent: Option<Vid>,
    /// Gone from sight; the vid stays taken.
    pub deleted: bool,
    /// Of the newest attachment so far.
    pub generation: Generation,
    /// Who writes it now.
    pub attachment: Option<Attachment>,
}

impl Vdi {
    /// Bytes of one object.
    #[must_use]
    pub const fn object_bytes(&self) -> u64 {
        1 << self.object_shift
    }

    /// Objects needed for its size.
    #[must_use]
    pub const fn object_count(&self) -> u64 {
        self.size.div_ceil(self.object_bytes())
    }
}

/// All VDIs.
///
/// Kept in buckets that are copied only when they change: every log entry makes a new state, and
/// a hundred thousand VDIs must not be copied for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// By the upper bits of the vid, so that walking the buckets walks the vids in order.
    vdis: Vec<Arc<BTreeMap<Vid, Vdi>>>,
    /// By the upper bits of the name's hash.
    names: Vec<Arc<BTreeMap<String, Vid>>>,
    used: usize,
}

const BUCKET_BITS: u32 = 8;

const fn bucket(vid: Vid) -> usize {
    (vid.get() >> (24 - BUCKET_BITS)) as usize
}

impl Default for Catalogue {
    fn default() -> Self {
        let buckets = 1 << BUCKET_BITS;
        Self { vdis: vec![Arc::default(); buckets], names: vec![Arc::default(); buckets], used: 0 }
    }
}

impl Catalogue {
    /// By id, unless deleted.
    #[must_use]
    pub fn get(&self, vid: Vid) -> Option<&Vdi> {
        self.get_used(vid).filter(|vdi| !vdi.deleted)
    }

    /// The working VDI of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Vdi> {
        let names = &self.names[bucket(Vid::hash_of_name(name.as_bytes()))];
        names.get(name).and_then(|vid| self.get(*vid))
    }

    /// All that are not deleted, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Vdi> {
        self.iter_used().filter(|vdi| !vdi.deleted)
    }

    /// Every vid ever given, deleted ones too, with its record.
    pub fn iter_used(&self) -> impl Iterator<Item = &Vdi> {
        self.vdis.iter().flat_map(|bucket| bucket.values())
    }

    /// A record even if deleted.
    #[must_use]
    pub fn get_used(&self, vid: Vid) -> Option<&Vdi> {
        self.vdis[bucket(vid)].get(&vid)
    }

    fn get_mut(&mut self, vid: Vid) -> Result<&mut Vdi, Refused> {
        if self.get(vid).is_none() {
            return Err(Refused::NoVdi);
        }
        Arc::make_mut(&mut self.vdis[bucket(vid)]).get_mut(&vid).ok_or(Refused::NoVdi)
    }

    fn names_mut(&mut self, name: &str) -> &mut BTreeMap<String, Vid> {
        Arc::make_mut(&mut self.names[bucket(Vid::hash_of_name(name.as_bytes()))])
    }

    pub(super) fn free_vid(&self, name: &str) -> Option<Vid> {
        if self.used >= Vid::MAX as usize {
            return None;
        }
        let mut vid = Vid::hash_of_name(name.as_bytes());
        while self.get_used(vid).is_some() {
            vid = vid.next();
        }
        Some(vid)
    }

    /// 1, or one more than the newest snapshot of that name that remains.
    pub(super) fn next_snap_id(&self, name: &str) -> u32 {
        let same = self.iter().filter(|vdi| vdi.name == name);
        same.map(|vdi| vdi.snap_id).max().unwrap_or(0) + 1
    }

    pub(super) fn insert(&mut self, vdi: Vdi) {
        let taken = self.names_mut(&vdi.name).insert(vdi.name.clone(), vdi.vid);
        assert!(taken.is_none(), "K1: names of working VDIs are unique");
        let used = Arc::make_mut(&mut self.vdis[bucket(vdi.vid)]).insert(vdi.vid, vdi);
        assert!(used.is_none(), "K2: a vid is given once");
        self.used += 1;
    }

    pub(super) fn delete(&mut self, vid: Vid) -> Result<(), Refused> {
        let vdi = self.get_mut(vid)?;
        if let Some(attachment) = &vdi.attachment {
            return Err(Refused::Locked(attachment.clone()));
        }
        vdi.deleted = true;
        let name = vdi.name.clone();
        self.names_mut(&name).remove(&name);
        Ok(())
    }

    pub(super) fn resize(&mut self, vid: Vid, size: u64) -> Result<(), Refused> {
        let vdi = self.get_mut(vid)?;
        if size < vdi.size {
            return Err(Refused::Shrink);
        }
        check_size(size, vdi.object_shift)?;
        vdi.size = size;
        Ok(())
    }

    /// Grants the attachment under the next generation (ONE-WRITER). A sheep that owned it in
    /// an earlier life owns it anew; a living owner keeps it.
    pub(super) fn attach(
        &mut self,
        vid: Vid,
        mut owner: Attachment,
    ) -> Result<Generation, Refused> {
        let vdi = self.get_mut(vid)?;
        if let Some(holder) = &vdi.attachment {
            return Err(Refused::Locked(holder.clone()));
        }
        if vdi.generation.0 >= Generation::MAX {
            return Err(Refused::Invalid("generation: this VDI was attached too often"));
        }
        owner.generation = Generation(vdi.generation.0 + 1);
        vdi.generation = owner.generation;
        vdi.attachment = Some(owner);
        Ok(vdi.generation)
    }

    pub(super) fn detach(&mut self, vid: Vid, generation: Generation) -> Outcome {
        let Ok(vdi) = self.get_mut(vid) else { return Outcome::Void };
        if vdi.attachment.as_ref().is_none_or(|owner| owner.generation != generation) {
            return Outcome::Void;
        }
        vdi.attachment = None;
        Outcome::Done
    }

    pub(super) fn free_attachments(&mut self, node: NodeId, incarnation: Incarnation) {
        let owned = |vdi: &Vdi| {
            let owner = vdi.attachment.as_ref();
            owner.is_some_and(|owner| owner.node == node && owner.incarnation == incarnation)
        };
        for bucket in self.vdis.iter_mut().filter(|bucket| bucket.values().any(owned)) {
            for vdi in Arc::make_mut(bucket).values_mut().filter(|vdi| owned(vdi)) {
                vdi.attachment = None;
            }
        }
    }
}

/// Checks the fields of a VDI to be made.
pub(super) fn check_new(name: &str, size: u64, object_shift: u8) -> Result<(), Refused> {
    let printable = name.bytes().all(|byte| byte != 0);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !printable {
        return Err(Refused::Invalid("VDI name (1 to 255 bytes, no zero byte)"));
    }
    if !OBJECT_SHIFTS.contains(&object_shift) {
        return Err(Refused::Invalid("object size (1 MiB to 64 MiB)"));
    }
    check_size(size, object_shift)
}

fn check_size(size: u64, object_shift: u8) -> Result<(), Refused> {
    if size.div_ceil(1 << object_shift) > SIZE_OBJECTS_MAX {
        return Err(Refused::Invalid("size (at most 1,048,576 objects; choose larger objects)"));
    }
    Ok(())
}
