//! What a request means: decided from the cluster state alone, without waiting.
//!
//! Way: `session` asks [`route`] which VDI's shard must serve the request, then [`plan`] what to
//!      do.
//! Holds:
//!   P1 create and copy-on-write flags decide nothing: the gateway knows what is allocated;
//!   P2 nothing outside an object is ever read or written through it.

use sheepdog_engine::state::{ClusterState, Vdi};
use sheepdog_proto::legacy::inode::MAP_START;
use sheepdog_proto::legacy::request::{LockType, Lookup, NewVdi, ObjectRange};
use sheepdog_proto::legacy::{Request, Response, ResultCode};
use sheepdog_proto::{ObjectKind, Oid, Payload, Vid};

use super::connection::Body;
use super::queue::Work;
use super::{inode, lookup};

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Step {
    /// Answered: success.
    Done,
    /// Answered.
    Answer(Response),
    /// Answered with bytes.
    Data(Body),
    /// Refused.
    Refuse(ResultCode),
    /// Waits for its turn at its VDI.
    Queue(Vid, Work),
    /// A larger size, then perhaps a part of the map.
    Resize { vid: Vid, size: u64, then: Option<Work> },
    /// Takes a while and concerns the catalogue or a lock.
    Control(Control),
}

/// Requests that are carried out by a task of their own.
#[derive(Debug)]
pub(super) enum Control {
    New(NewVdi),
    Lock(Lookup, LockType),
    Release(Vid),
    Delete(Lookup),
}

/// The VDI whose shard must serve the request; `None`: any shard can. For an object it is always
/// the same, whether the VDI exists or not, so that it cannot change while a payload arrives.
pub(super) fn route(state: &ClusterState, request: &Request) -> Option<Vid> {
    let named = |lookup: &Lookup| lookup::find(state, lookup).ok().map(|vdi| vdi.vid);
    match request {
        Request::Read(range) => match range.oid.map(Oid::kind)? {
            // The header is made from the state, which every shard has.
            ObjectKind::Map if range.end() <= u64::from(MAP_START) => None,
            _ => Some(range.oid?.vid()),
        },
        Request::Write { range, .. } | Request::Discard(range) | Request::Flush(range) => {
            Some(range.oid?.vid())
        }
        Request::Lock(lookup, _) | Request::Delete(lookup) => named(lookup),
        Request::Release(vid) => *vid,
        Request::NewVdi(_)
        | Request::Info(_)
        | Request::Remove(_)
        | Request::ReadVdis
        | Request::ClusterDefault => None,
    }
}

/// Decides. `data` is the payload of a write; `None` if it is empty.
pub(super) fn plan(state: &ClusterState, request: Request, data: Option<Payload>) -> Step {
    if let Err(code) = gate(state, &request) {
        return Step::Refuse(code);
    }
    match request {
        Request::Read(range) => read(state, &range),
        Request::Write { range, create } => write(state, &range, create, data),
        Request::Discard(range) => discard(state, &range),
        Request::Flush(range) => match range.oid.and_then(|oid| state.catalogue.get(oid.vid())) {
            Some(vdi) => Step::Queue(vdi.vid, Work::Flush),
            None => Step::Refuse(ResultCode::NoObject),
        },
        // No client needs it, and it would delete behind the map's back.
        Request::Remove(_) => Step::Refuse(ResultCode::InvalidParameters),
        Request::Info(lookup) => match lookup::find(state, &lookup) {
            Ok(vdi) => Step::Answer(lookup::about(state, vdi, ResultCode::Success)),
            Err(code) => Step::Refuse(code),
        },
        Request::ReadVdis => Step::Data(Body::One(lookup::vid_bitmap(state))),
        Request::ClusterDefault => Step::Answer(lookup::default_of(state)),
        Request::NewVdi(new) => Step::Control(Control::New(new)),
        Request::Lock(lookup, lock_type) => Step::Control(Control::Lock(lookup, lock_type)),
        Request::Delete(lookup) => Step::Control(Control::Delete(lookup)),
        // Releasing what is not locked, or does not exist, has always been a success.
        Request::Release(vid) => match vid.and_then(|vid| state.catalogue.get(vid)) {
            Some(vdi) => Step::Control(Control::Release(vdi.vid)),
            None => Step::Done,
        },
    }
}

/// What the state of the whole cluster allows.
fn gate(state: &ClusterState, request: &Request) -> Result<(), ResultCode> {
    if matches!(request, Request::ReadVdis | Request::ClusterDefault) {
        return Ok(());
    }
    if state.stopping {
        return Err(ResultCode::Shutdown);
    }
    if state.format.is_none() { Err(ResultCode::WaitForFormat) } else { Ok(()) }
}

/// Clients address sectors.
const SECTOR_BYTES: u64 = 512;

/// A data object of an existing VDI.
struct Object<'a> {
    vdi: &'a Vdi,
    index: u32,
    /// Of the object in the VDI.
    start: u64,
}

impl<'a> Object<'a> {
    fn find(state: &'a ClusterState, oid: Option<Oid>) -> Option<Self> {
        let oid = oid.filter(|oid| oid.kind() == ObjectKind::Data)?;
        let vdi = state.catalogue.get(oid.vid())?;
        let index = oid.index();
        Some(Self { vdi, index, start: u64::from(index) << vdi.object_shift })
    }

    /// Where `range` begins in the VDI. An empty one may stand at the end of the object, but must
    /// not be taken for the next.
    fn at(&self, range: &ObjectRange) -> u64 {
        if range.len == 0 { self.start } else { self.start + u64::from(range.offset) }
    }

    /// Bytes of the object that lie inside the VDI, whose size clients round up to sectors.
    fn len(&self) -> u64 {
        let size = self.vdi.size.next_multiple_of(SECTOR_BYTES);
        size.saturating_sub(self.start).min(self.vdi.object_bytes())
    }
}

fn read(state: &ClusterState, range: &ObjectRange) -> Step {
    let Some(oid) = range.oid else { return Step::Refuse(ResultCode::NoObject) };
    if oid.kind() == ObjectKind::Map && oid.index() == 0 {
        return match state.catalogue.get_used(oid.vid()) {
            Some(vdi) => inode::read(state, vdi, range),
            None => Step::Refuse(ResultCode::NoObject),
        };
    }
    let Some(object) = Object::find(state, Some(oid)).filter(|object| object.len() > 0) else {
        return Step::Refuse(ResultCode::NoObject);
    };
    if range.end() > object.vdi.object_bytes() {
        return Step::Refuse(ResultCode::InvalidParameters); // P2
    }
    // The last object may reach beyond the VDI's end; there it reads as zeros.
    let inside = object.len().saturating_sub(u64::from(range.offset)).min(u64::from(range.len));
    let work = Work::Read {
        index: object.index,
        offset: object.at(range),
        len: inside as u32,
        zeros: range.len - inside as u32,
    };
    Step::Queue(object.vdi.vid, work)
}

fn write(state: &ClusterState, range: &ObjectRange, create: bool, data: Option<Payload>) -> Step {
    let Some(oid) = range.oid else { return Step::Refuse(ResultCode::NoObject) };
    match oid.kind() {
        ObjectKind::Data => {}
        ObjectKind::Map if !create && oid.index() == 0 => {
            return match state.catalogue.get(oid.vid()) {
                Some(vdi) => inode::write(vdi, range, data.as_ref()),
                None => Step::Refuse(ResultCode::NoObject),
            };
        }
        _ => return Step::Refuse(ResultCode::InvalidParameters),
    }
    let Some(object) = Object::find(state, Some(oid)) else {
        return Step::Refuse(ResultCode::NoObject);
    };
    if object.len() == 0 && !create {
        return Step::Refuse(ResultCode::NoObject);
    }
    if range.end() > object.len() {
        return Step::Refuse(ResultCode::InvalidParameters); // P2
    }
    let work = Work::Write { index: object.index, offset: object.at(range), data, create };
    Step::Queue(object.vdi.vid, work)
}

fn discard(state: &ClusterState, range: &ObjectRange) -> Step {
    match Object::find(state, range.oid) {
        None => Step::Refuse(ResultCode::NoObject),
        // Nothing can be there.
        Some(object) if object.len() == 0 => Step::Done,
        Some(object) => {
            let work =
                Work::Discard { index: object.index, offset: object.start, len: object.len() };
            Step::Queue(object.vdi.vid, work)
        }
    }
}
