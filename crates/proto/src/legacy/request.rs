//! A request with a meaning: header and payload, checked.
//!
//! Not here: the payload of a write to an object; it travels beside the [`Request`].

use super::header::{
    BASE_VID, COPIES, COPY_POLICY, LOCK_TYPE, OBJECT_SHIFT, OFFSET, OID, SNAP_ID, STORE_POLICY,
    VDI_SIZE,
};
use super::opcode::INTERNAL_OPCODE_MIN;
use super::{NAME_FIELD_BYTES, Opcode, RequestHeader, ResultCode, VID_BITMAP_BYTES};
use crate::{Oid, Vid};

/// Largest version that a client may claim.
pub const VERSION_MAX: u8 = 2;
/// The version that internal opcodes carried.
pub const INTERNAL_VERSION: u8 = 0x0a;

/// A range of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRange {
    /// `None`: the number cannot name an object.
    pub oid: Option<Oid>,
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

impl ObjectRange {
    /// The byte after the last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset as u64 + self.len as u64
    }
}

/// A name of a VDI as the wire carries it. `None`: no terminator within the field, or no UTF-8;
/// no VDI has such a name.
pub type Name = Option<String>;

/// Which VDI or snapshot is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Of the VDI.
    pub name: Name,
    /// Of a snapshot; an empty one asks for none.
    pub tag: Name,
    /// Of a snapshot; 0 asks for none.
    pub snap_id: u32,
}

impl Lookup {
    /// No snapshot is asked for.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.snap_id == 0 && self.tag.as_deref() == Some("")
    }
}

/// What `NEW_VDI` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVdi {
    /// Of the VDI.
    pub name: Name,
    /// Bytes.
    pub size: u64,
    /// 0 = none.
    pub base: u32,
    /// 0 = the cluster's default.
    pub copies: u8,
    /// 0 = replication.
    pub copy_policy: u8,
    /// 0 = a flat map.
    pub store_policy: u8,
    /// 0 = the cluster's default.
    pub object_shift: u8,
    /// Makes a snapshot of the working VDI.
    pub snapshot: bool,
}

/// How a lock may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockType {
    /// Not at all.
    Normal,
    /// With other iSCSI targets.
    Shared,
    /// A number without a meaning.
    Unknown,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `READ_OBJ`.
    Read(ObjectRange),
    /// `WRITE_OBJ`, or `CREATE_AND_WRITE_OBJ` if `create`.
    Write {
        /// Where.
        range: ObjectRange,
        /// The object need not exist.
        create: bool,
    },
    /// `REMOVE_OBJ`.
    Remove(ObjectRange),
    /// `DISCARD_OBJ`.
    Discard(ObjectRange),
    /// `FLUSH_VDI`; only the oid counts.
    Flush(ObjectRange),
    /// `NEW_VDI`.
    NewVdi(NewVdi),
    /// `LOCK_VDI`.
    Lock(Lookup, LockType),
    /// `RELEASE_VDI`; `None` for a number that is no vid.
    Release(Option<Vid>),
    /// `GET_VDI_INFO`.
    Info(Lookup),
    /// `READ_VDIS`.
    ReadVdis,
    /// `DEL_VDI`.
    Delete(Lookup),
    /// `GET_CLUSTER_DEFAULT`.
    ClusterDefault,
}

impl Request {
    /// Understands a request. `payload` may be empty for requests that name an object.
    ///
    /// # Errors
    /// The code to answer with; the connection stays usable.
    pub fn parse(header: &RequestHeader, payload: &[u8]) -> Result<Self, ResultCode> {
        let internal = header.opcode_number() >= INTERNAL_OPCODE_MIN;
        let version = header.version();
        if if internal { version != INTERNAL_VERSION } else { version > VERSION_MAX } {
            return Err(ResultCode::VersionMismatch);
        }
        let opcode = header.opcode().ok_or(ResultCode::InvalidParameters)?;
        let object = || ObjectRange {
            oid: Oid::from_wire(header.get(OID)),
            offset: header.get(OFFSET) as u32,
            len: header.data_length(),
        };
        let request = match opcode {
            Opcode::ReadObject => Self::Read(object()),
            // Without the flag there is no payload, whatever `data_length` says.
            Opcode::CreateAndWriteObject | Opcode::WriteObject => Self::Write {
                range: ObjectRange { len: header.payload_bytes(), ..object() },
                create: opcode == Opcode::CreateAndWriteObject,
            },
            Opcode::RemoveObject => Self::Remove(object()),
            Opcode::DiscardObject => Self::Discard(object()),
            Opcode::FlushVdi => Self::Flush(object()),
            Opcode::NewVdi => Self::NewVdi(new_vdi(header, payload)?),
            Opcode::LockVdi => {
                let sharing = match header.get(LOCK_TYPE) {
                    0 => LockType::Normal,
                    1 => LockType::Shared,
                    _ => LockType::Unknown,
                };
                Self::Lock(lookup(header, payload)?, sharing)
            }
            Opcode::ReleaseVdi => Self::Release(Vid::new(header.get(BASE_VID) as u32)),
            Opcode::GetVdiInfo => Self::Info(lookup(header, payload)?),
            Opcode::ReadVdis if header.data_length() != VID_BITMAP_BYTES => {
                return Err(ResultCode::InvalidParameters);
            }
            Opcode::ReadVdis => Self::ReadVdis,
            Opcode::DeleteVdi => Self::Delete(lookup(header, payload)?),
            Opcode::GetClusterDefault => Self::ClusterDefault,
        };
        Ok(request)
    }
}

fn new_vdi(header: &RequestHeader, payload: &[u8]) -> Result<NewVdi, ResultCode> {
    let field: &[u8; NAME_FIELD_BYTES] =
        payload.try_into().map_err(|_| ResultCode::InvalidParameters)?;
    Ok(NewVdi {
        name: name(field),
        size: header.get(VDI_SIZE),
        base: header.get(BASE_VID) as u32,
        copies: header.get(COPIES) as u8,
        copy_policy: header.get(COPY_POLICY) as u8,
        store_policy: header.get(STORE_POLICY) as u8,
        object_shift: header.get(OBJECT_SHIFT) as u8,
        snapshot: header.get(SNAP_ID) != 0,
    })
}

/// A name field, and a tag field or nothing.
fn lookup(header: &RequestHeader, payload: &[u8]) -> Result<Lookup, ResultCode> {
    let (head, rest) =
        payload.split_first_chunk::<NAME_FIELD_BYTES>().ok_or(ResultCode::InvalidParameters)?;
    let tag = match rest {
        [] => Some(String::new()),
        rest => name(rest.try_into().map_err(|_| ResultCode::InvalidParameters)?),
    };
    Ok(Lookup { name: name(head), tag, snap_id: header.get(SNAP_ID) as u32 })
}

/// The text before the first zero byte.
fn name(field: &[u8; NAME_FIELD_BYTES]) -> Name {
    let end = field.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&field[..end]).ok().map(str::to_owned)
}

/// A name field as clients send it: cut to 255 bytes, padded with zeros.
#[must_use]
pub fn name_field(name: &[u8]) -> [u8; NAME_FIELD_BYTES] {
    let mut field = [0; NAME_FIELD_BYTES];
    let count = name.len().min(NAME_FIELD_BYTES - 1);
    field[..count].copy_from_slice(&name[..count]);
    field
}
