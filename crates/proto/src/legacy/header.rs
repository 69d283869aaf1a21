//! The two headers, byte by byte: 48 bytes each, little-endian, naturally aligned.
//!
//! Holds:
//!   H1 the fields of each layout touch each other and end at byte 48 (checked when compiled).

use std::fmt;

use super::{Flags, OBJECT_BYTES_MAX, Opcode, PAYLOAD_BYTES_MAX, ResultCode};
use crate::wire::WireError;

/// Bytes of either header.
pub const HEADER_BYTES: usize = 48;

/// One field: where it begins and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As in `docs/formats/legacy-protocol.md`.
    pub name: &'static str,
    /// First byte.
    pub offset: usize,
    /// Length.
    pub bytes: usize,
}

macro_rules! fields {
    ($(#[$doc:meta])* $list:ident: $start:literal..$end:expr;
     $($field:ident $name:literal $offset:literal $bytes:literal,)*) => {
        $(
            #[doc = concat!("Field `", $name, "`.")]
            pub const $field: Field = Field { name: $name, offset: $offset, bytes: $bytes };
        )*
        $(#[$doc])*
        pub const $list: &[Field] = &[$($field,)*];
        const _: () = assert!($crate::legacy::header::touch($list, $start, $end), "H1");
    };
}
pub(super) use fields;

/// True if `fields` cover `start..end` without gap or overlap.
pub(super) const fn touch(fields: &[Field], start: usize, end: usize) -> bool {
    let mut at = start;
    let mut index = 0;
    while index < fields.len() {
        if fields[index].offset != at {
            return false;
        }
        at += fields[index].bytes;
        index += 1;
    }
    at == end
}

fields! {
    /// First 16 bytes of every request and reply.
    COMMON_FIELDS: 0..16;
    VERSION "proto_ver" 0 1,
    OPCODE "opcode" 1 1,
    FLAGS "flags" 2 2,
    EPOCH "epoch" 4 4,
    ID "id" 8 4,
    DATA_LENGTH "data_length" 12 4,
}

fields! {
    /// Rest of a request that names an object.
    OBJECT_FIELDS: 16..HEADER_BYTES;
    OID "oid" 16 8,
    COW_OID "cow_oid" 24 8,
    OBJECT_COPIES "copies" 32 1,
    OBJECT_COPY_POLICY "copy_policy" 33 1,
    EC_INDEX "ec_index" 34 1,
    OBJECT_RESERVED "reserved" 35 1,
    TARGET_EPOCH "tgt_epoch" 36 4,
    OFFSET "offset" 40 4,
    OFFSET_PAD "pad" 44 4,
}

fields! {
    /// Rest of a request that names a VDI.
    VDI_FIELDS: 16..HEADER_BYTES;
    VDI_SIZE "vdi_size" 16 8,
    BASE_VID "base_vdi_id" 24 4,
    COPIES "copies" 28 1,
    COPY_POLICY "copy_policy" 29 1,
    STORE_POLICY "store_policy" 30 1,
    OBJECT_SHIFT "block_size_shift" 31 1,
    SNAP_ID "snapid" 32 4,
    LOCK_TYPE "type" 36 4,
    VDI_PAD "pad" 40 8,
}

fields! {
    /// Rest of a reply about a VDI. Of any other reply, only `result` has a meaning.
    REPLY_FIELDS: 16..HEADER_BYTES;
    RESULT "result" 16 4,
    REPLY_RESERVED "reserved" 20 4,
    REPLY_VID "vdi_id" 24 4,
    ATTRIBUTE_ID "attr_id" 28 4,
    REPLY_COPIES "copies" 32 1,
    REPLY_OBJECT_SHIFT "block_size_shift" 33 1,
    REPLY_PAD "pad" 34 14,
}

fields! {
    /// Bytes 20 to 23 of the reply to `GET_CLUSTER_DEFAULT`.
    DEFAULT_FIELDS: 20..24;
    DEFAULT_COPIES "nr_copies" 20 1,
    DEFAULT_COPY_POLICY "copy_policy" 21 1,
    DEFAULT_OBJECT_SHIFT "block_size_shift" 22 1,
    DEFAULT_PAD "pad" 23 1,
}

fn get(bytes: &[u8; HEADER_BYTES], field: Field) -> u64 {
    let mut value = [0_u8; 8];
    let count = field.bytes.min(8);
    value[..count].copy_from_slice(&bytes[field.offset..field.offset + count]);
    u64::from_le_bytes(value)
}

fn put(bytes: &mut [u8; HEADER_BYTES], field: Field, value: u64) {
    let count = field.bytes.min(8);
    bytes[field.offset..field.offset + count].copy_from_slice(&value.to_le_bytes()[..count]);
}

/// The header of a request: a view, nothing is checked yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader(pub [u8; HEADER_BYTES]);

impl RequestHeader {
    /// A header with everything else zero, as a client would make it.
    #[must_use]
    pub fn new(opcode: Opcode, flags: Flags, id: u32, data_length: u32) -> Self {
        Self([0; HEADER_BYTES])
            .with(OPCODE, opcode.get().into())
            .with(FLAGS, flags.0.into())
            .with(ID, id.into())
            .with(DATA_LENGTH, data_length.into())
    }

    /// The same with another value of one field (cut to its width).
    #[must_use]
    pub fn with(mut self, field: Field, value: u64) -> Self {
        put(&mut self.0, field, value);
        self
    }

    /// The first 48 bytes.
    ///
    /// # Errors
    /// `Short` if there are fewer.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        bytes.first_chunk().map(|head| Self(*head)).ok_or(WireError::Short)
    }

    /// Any field.
    #[must_use]
    pub fn get(&self, field: Field) -> u64 {
        get(&self.0, field)
    }

    /// Version of the protocol that the client claims.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[VERSION.offset]
    }

    /// Number of the opcode.
    #[must_use]
    pub const fn opcode_number(&self) -> u8 {
        self.0[OPCODE.offset]
    }

    /// The opcode, if it is one of ours.
    #[must_use]
    pub const fn opcode(&self) -> Option<Opcode> {
        Opcode::from_wire(self.opcode_number())
    }

    /// Flags.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags(self.get(FLAGS) as u16)
    }

    /// Echoed in the reply; says nothing to the server.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.get(ID) as u32
    }

    /// Length of the payload that follows, or of the reply that is wanted.
    #[must_use]
    pub fn data_length(&self) -> u32 {
        self.get(DATA_LENGTH) as u32
    }

    /// Bytes of payload that follow this header.
    #[must_use]
    pub fn payload_bytes(&self) -> u32 {
        if self.flags().has(Flags::WRITE) { self.data_length() } else { 0 }
    }

    /// Bytes of payload that a successful reply carries.
    #[must_use]
    pub fn reply_bytes(&self) -> u32 {
        let carries = matches!(self.opcode(), Some(Opcode::ReadObject | Opcode::ReadVdis));
        if carries { self.data_length() } else { 0 }
    }

    /// Checks the claimed length against what can be legal for the opcode.
    ///
    /// # Errors
    /// `Invalid`: close the connection; nothing may be allocated by this length (L1).
    pub fn check_length(&self) -> Result<(), WireError> {
        let object = self.opcode().is_some_and(Opcode::is_object);
        let most = if object { OBJECT_BYTES_MAX } else { PAYLOAD_BYTES_MAX };
        if self.payload_bytes() > most || self.reply_bytes() > OBJECT_BYTES_MAX {
            return Err(WireError::Invalid("data_length"));
        }
        Ok(())
    }
}

impl fmt::Display for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opcode = self.opcode();
        write_common(f, &self.0, opcode)?;
        let oid = self.get(OID);
        match opcode {
            Some(opcode) if opcode.is_object() => {
                write!(f, " oid={oid:016x} off={}", self.get(OFFSET))?;
                if self.flags().has(Flags::COW) {
                    write!(f, " cow={:016x}", self.get(COW_OID))?;
                }
                Ok(())
            }
            Some(Opcode::NewVdi) => write!(
                f,
                " size={} base={:06x} copies={} policy={:#x} shift={} snapid={}",
                self.get(VDI_SIZE),
                self.get(BASE_VID),
                self.get(COPIES),
                self.get(COPY_POLICY),
                self.get(OBJECT_SHIFT),
                self.get(SNAP_ID)
            ),
            Some(Opcode::ReleaseVdi) => {
                write!(f, " vid={:06x} type={}", self.get(BASE_VID), self.get(LOCK_TYPE))
            }
            Some(Opcode::LockVdi | Opcode::GetVdiInfo | Opcode::DeleteVdi) => {
                write!(f, " snapid={} type={}", self.get(SNAP_ID), self.get(LOCK_TYPE))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header of a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader(pub [u8; HEADER_BYTES]);

impl ResponseHeader {
    /// A header that echoes opcode and id of `request`; everything else is zero.
    #[must_use]
    pub fn to(request: &RequestHeader) -> Self {
        Self([0; HEADER_BYTES]).with(OPCODE, request.get(OPCODE)).with(ID, request.get(ID))
    }

    /// The same with another value of one field (cut to its width).
    #[must_use]
    pub fn with(mut self, field: Field, value: u64) -> Self {
        put(&mut self.0, field, value);
        self
    }

    /// The first 48 bytes.
    ///
    /// # Errors
    /// `Short` if there are fewer.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        bytes.first_chunk().map(|head| Self(*head)).ok_or(WireError::Short)
    }

    /// Any field.
    #[must_use]
    pub fn get(&self, field: Field) -> u64 {
        get(&self.0, field)
    }

    /// Number of the result code; see [`ResultCode::from_wire`].
    #[must_use]
    pub fn result(&self) -> u32 {
        self.get(RESULT) as u32
    }

    /// Bytes of payload that follow this header.
    #[must_use]
    pub fn data_length(&self) -> u32 {
        self.get(DATA_LENGTH) as u32
    }
}

impl fmt::Display for ResponseHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opcode = Opcode::from_wire(self.get(OPCODE) as u8);
        write_common(f, &self.0, opcode)?;
        match ResultCode::from_wire(self.result()) {
            Some(code) => write!(f, " {code}")?,
            None => write!(f, " result={:#x}", self.result())?,
        }
        match opcode {
            Some(Opcode::NewVdi | Opcode::LockVdi | Opcode::GetVdiInfo | Opcode::DeleteVdi) => {
                write!(
                    f,
                    " vid={:06x} copies={} shift={}",
                    self.get(REPLY_VID),
                    self.get(REPLY_COPIES),
                    self.get(REPLY_OBJECT_SHIFT)
                )
            }
            Some(Opcode::GetClusterDefault) => write!(
                f,
                " copies={} policy={:#x} shift={}",
                self.get(DEFAULT_COPIES),
                self.get(DEFAULT_COPY_POLICY),
                self.get(DEFAULT_OBJECT_SHIFT)
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ResponseHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_common(
    f: &mut fmt::Formatter<'_>,
    bytes: &[u8; HEADER_BYTES],
    opcode: Option<Opcode>,
) -> fmt::Result {
    write!(f, "v{} ", get(bytes, VERSION))?;
    match opcode {
        Some(opcode) => write!(f, "{opcode}")?,
        None => write!(f, "opcode {:#04x}", get(bytes, OPCODE))?,
    }
    let flags = Flags(get(bytes, FLAGS) as u16);
    write!(f, " {flags} id={} len={}", get(bytes, ID), get(bytes, DATA_LENGTH))
}
