//! Reads and writes of the inode, as operations on the catalogue and the map.
//!
//! Why: old clients treat the inode as bytes; here its parts live in different places.
//! Holds:
//!   N1 of the header, only a larger size is taken from a client; everything else is the server's
//!      knowledge, and the client may be stale;
//!   N2 the map is written through `WriteMap` alone, which never trusts the client.

use sheepdog_engine::state::{ClusterState, Vdi};
use sheepdog_proto::legacy::ResultCode;
use sheepdog_proto::legacy::inode::{INODE_BYTES, MAP_END, MAP_START, written_size};
use sheepdog_proto::legacy::request::ObjectRange;
use sheepdog_proto::{Buffer, Payload};

use super::connection::Body;
use super::lookup;
use super::plan::Step;
use super::queue::Work;

/// `range` cut to `start..end`; empty if they do not meet.
fn part(range: &ObjectRange, start: u32, end: u32) -> (u32, u32) {
    let first = u64::from(range.offset.clamp(start, end));
    let last = range.end().clamp(u64::from(start), u64::from(end));
    (first as u32, (last - first) as u32)
}

/// Plans a read of `vdi`'s inode, deleted or not.
pub(super) fn read(state: &ClusterState, vdi: &Vdi, range: &ObjectRange) -> Step {
    if range.end() > u64::from(INODE_BYTES) {
        return Step::Refuse(ResultCode::InvalidParameters);
    }
    let mut parts = Vec::new();
    let (first, count) = part(range, 0, MAP_START);
    if count > 0 {
        let header = lookup::inode_header(state, vdi).emit();
        parts.push(Payload::from(&header[first as usize..(first + count) as usize]));
    }
    let (map_first, map_count) = part(range, MAP_START, MAP_END);
    let (_, zeros) = part(range, MAP_END, INODE_BYTES);
    if map_count == 0 || vdi.deleted {
        parts.push(Buffer::zeroed((map_count + zeros) as usize).share());
        return Step::Data(Body::Many(parts));
    }
    let work =
        Work::ReadMap { before: parts, offset: map_first - MAP_START, len: map_count, zeros };
    Step::Queue(vdi.vid, work)
}

/// Plans a write of `data` into the inode of a VDI that is not deleted.
pub(super) fn write(vdi: &Vdi, range: &ObjectRange, data: Option<&Payload>) -> Step {
    if range.end() > u64::from(INODE_BYTES) {
        return Step::Refuse(ResultCode::InvalidParameters);
    }
    let Some(data) = data else { return Step::Done };
    let larger = written_size(range.offset, data).filter(|size| *size > vdi.size); // N1
    let (first, count) = part(range, MAP_START, MAP_END);
    let map = if count == 0 {
        None
    } else if first % 4 != 0 || count % 4 != 0 {
        return Step::Refuse(ResultCode::InvalidParameters);
    } else {
        let start = (first - range.offset) as usize;
        let data = data.slice(start..start + count as usize);
        Some(Work::WriteMap { offset: first - MAP_START, data }) // N2
    };
    match (larger, map) {
        (None, None) => Step::Done,
        (None, Some(map)) => Step::Queue(vdi.vid, map),
        (Some(size), then) => Step::Resize { vid: vdi.vid, size, then },
    }
}
