//! Finding VDIs as old clients name them, and telling about them.

use sheepdog_engine::state::{ClusterState, Vdi};
use sheepdog_proto::command::Copies;
use sheepdog_proto::legacy::inode::InodeHeader;
use sheepdog_proto::legacy::request::Lookup;
use sheepdog_proto::legacy::{Response, ResultCode, VID_BITMAP_BYTES};
use sheepdog_proto::{Buffer, Payload, PolicyId};

/// The VDI that is meant. A snapshot is never found, for there are none in the catalogue yet.
pub(super) fn find<'a>(state: &'a ClusterState, lookup: &Lookup) -> Result<&'a Vdi, ResultCode> {
    let name = lookup.name.as_deref().ok_or(ResultCode::NoVdi)?;
    let vdi = state.catalogue.find(name).ok_or(ResultCode::NoVdi)?;
    if lookup.is_working() { Ok(vdi) } else { Err(ResultCode::NoTag) }
}

/// The answer that tells about `vdi`.
pub(super) fn about(state: &ClusterState, vdi: &Vdi, code: ResultCode) -> Response {
    let copies = copies_of(state, vdi.policy);
    Response::Vdi { code, vid: vdi.vid, copies, object_shift: vdi.object_shift }
}

/// The answer that tells what a new VDI gets.
pub(super) fn default_of(state: &ClusterState) -> Response {
    match &state.format {
        // Zeros would make clients believe in objects of one byte.
        None => Response::Code(ResultCode::WaitForFormat),
        Some(format) => Response::ClusterDefault {
            copies: copies_of(state, format.policy),
            object_shift: format.object_shift,
        },
    }
}

/// Copies of a class; at least 1, because clients complain about 0.
fn copies_of(state: &ClusterState, policy: PolicyId) -> u8 {
    let policy = state.policies.get(usize::from(policy.0));
    let copies = policy.map_or(1, |policy| match policy.copies {
        Copies::Exactly(copies) => copies,
        Copies::Auto => policy.count,
    });
    copies.max(1)
}

/// The header of a VDI's inode. A deleted one keeps its id and has lost its name and size, so that
/// clients that walk over neighbouring vids read on.
pub(super) fn inode_header(state: &ClusterState, vdi: &Vdi) -> InodeHeader {
    InodeHeader {
        name: if vdi.deleted { String::new() } else { vdi.name.clone() },
        tag: vdi.tag.clone(),
        created_ns: vdi.created_ns,
        snapshot_ns: vdi.snapshot_ns,
        size: if vdi.deleted { 0 } else { vdi.size },
        copies: copies_of(state, vdi.policy),
        object_shift: vdi.object_shift,
        snap_id: vdi.snap_id,
        vid: vdi.vid,
        parent: vdi.parent,
    }
}

/// One bit for each vid ever given: bit v % 8 of byte v / 8.
pub(super) fn vid_bitmap(state: &ClusterState) -> Payload {
    let mut bitmap = Buffer::zeroed(VID_BITMAP_BYTES as usize);
    for vdi in state.catalogue.iter_used() {
        let vid = vdi.vid.get();
        bitmap[vid as usize / 8] |= 1 << (vid % 8);
    }
    bitmap.share()
}
