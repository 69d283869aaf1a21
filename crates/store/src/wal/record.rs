//! Records: what one batch of the log says, one after the other.
//!
//! Holds:
//!   RC1 decoding what was encoded gives the same record, and nothing else decodes;
//!   RC2 a write's checksums are in its record, its blocks in the batch's block area, in order;
//!   RC3 the blocks of a placed record were durable in their unit before the record was written
//!       (REDIRECT-BEFORE-COMMIT).

use std::fmt;

use sheepdog_proto::wire::{Reader, WireError, Writer};
use sheepdog_proto::{Generation, Oid, Stamp, Vid, View};

use crate::layout::{Field, fills};
use crate::request::{Unstable, UnstableKind};
use crate::shape::{Shape, UNIT_BLOCKS};

/// Bytes of a record without its list.
pub(crate) const RECORD_BYTES: usize = 48;

/// Offsets of a record's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const KIND: Field = Field::first("kind", 1);
    pub(crate) const DETAIL: Field = KIND.then("detail", 1);
    pub(crate) const ZERO: Field = DETAIL.then("zero", 2);
    pub(crate) const COUNT: Field = ZERO.then("count", 4);
    pub(crate) const SUBJECT: Field = COUNT.then("subject", 8);
    pub(crate) const STAMP: Field = SUBJECT.then("stamp", 8);
    pub(crate) const VIEW: Field = STAMP.then("view", 8);
    pub(crate) const FIRST_BLOCK: Field = VIEW.then("first block", 4);
    pub(crate) const UNIT: Field = FIRST_BLOCK.then("unit", 4);
    pub(crate) const RESERVED: Field = UNIT.then("reserved", 8);
}

/// All fields of a record, in order.
pub(crate) const FIELDS: [Field; 10] = [
    field::KIND,
    field::DETAIL,
    field::ZERO,
    field::COUNT,
    field::SUBJECT,
    field::STAMP,
    field::VIEW,
    field::FIRST_BLOCK,
    field::UNIT,
    field::RESERVED,
];
const _: () = assert!(fills(&FIELDS, RECORD_BYTES));

/// The kinds of records, with the numbers that stand in the log.
#[cfg(test)]
pub(crate) const KINDS: [(u8, &str); 12] = [
    (kind::WRITE, "write"),
    (kind::HOLE, "hole"),
    (kind::RESET, "reset"),
    (kind::VIEW, "view"),
    (kind::WATERMARK, "watermark"),
    (kind::SETTLE, "settle"),
    (kind::UNSTABLE, "unstable"),
    (kind::PLACED, "placed"),
    (kind::STABLE, "stable"),
    (kind::FORGET, "forget"),
    (kind::UNDONE, "undone"),
    (kind::DROP, "drop"),
];

mod kind {
    pub(super) const WRITE: u8 = 1;
    pub(super) const HOLE: u8 = 2;
    pub(super) const RESET: u8 = 3;
    pub(super) const VIEW: u8 = 4;
    pub(super) const WATERMARK: u8 = 5;
    pub(super) const SETTLE: u8 = 6;
    pub(super) const UNSTABLE: u8 = 7;
    pub(super) const PLACED: u8 = 8;
    pub(super) const STABLE: u8 = 9;
    pub(super) const FORGET: u8 = 10;
    pub(super) const UNDONE: u8 = 11;
    pub(super) const DROP: u8 = 12;
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Blocks were written; their bytes are in the block area (RC2).
    Write {
        oid: Oid,
        shape: Shape,
        first_block: u32,
        stamp: Stamp,
        view: View,
        checksums: Vec<u32>,
    },
    /// Blocks of one unit of the object were written; they are in that unit of a slab (RC3).
    Placed {
        oid: Oid,
        shape: Shape,
        first_block: u32,
        stamp: Stamp,
        view: View,
        checksums: Vec<u32>,
        unit: u32,
    },
    /// Blocks became holes.
    Hole { oid: Oid, shape: Shape, first_block: u32, count: u32, stamp: Stamp, view: View },
    /// Blocks older than the stamp went.
    Reset { oid: Oid, stamp: Stamp, view: View },
    /// A duplicate came under a newer view.
    View { oid: Oid, view: View },
    /// Changes became stable.
    Watermark { vid: Vid, stable: Stamp },
    /// Changes were reconciled.
    Settle { vid: Vid, below: Generation, oids: Vec<Oid> },
    /// A change that was unstable when the segment began.
    Unstable(Unstable),
    /// The change before is known to be everywhere.
    Stable(Unstable),
    /// Everything of a bucket went.
    Forget { bucket: u8 },
    /// A change was taken back.
    Undone(Unstable),
    /// Objects went as if they had never been.
    Drop { oids: Vec<Oid> },
}

/// The fields that every record has.
#[derive(Default)]
struct Fixed {
    kind: u8,
    detail: u8,
    count: u32,
    subject: u64,
    stamp: Stamp,
    view: View,
    first_block: u32,
    unit: u32,
}

impl Record {
    /// Blocks that the record has in the block area.
    pub(crate) fn blocks(&self) -> usize {
        match self {
            Self::Write { checksums, .. } => checksums.len(),
            _ => 0,
        }
    }

    /// Whether a crash may forget the record: it only shortens the unstable list.
    pub(crate) const fn can_wait(&self) -> bool {
        matches!(self, Self::Watermark { .. } | Self::Settle { .. })
    }

    /// Bytes of the encoded record.
    pub(crate) fn encoded_bytes(&self) -> usize {
        match self {
            Self::Write { checksums, .. } | Self::Placed { checksums, .. } => {
                write_bytes(checksums.len())
            }
            Self::Settle { oids, .. } | Self::Drop { oids } => RECORD_BYTES + oids.len() * 8,
            _ => RECORD_BYTES,
        }
    }

    fn fixed(&self) -> Fixed {
        match self {
            Self::Write { oid, shape, first_block, stamp, view, checksums } => Fixed {
                kind: kind::WRITE,
                detail: shape.shift(),
                count: checksums.len() as u32,
                subject: oid.get(),
                stamp: *stamp,
                view: *view,
                first_block: *first_block,
                unit: 0,
            },
            Self::Placed { oid, shape, first_block, stamp, view, checksums, unit } => Fixed {
                kind: kind::PLACED,
                detail: shape.shift(),
                count: checksums.len() as u32,
                subject: oid.get(),
                stamp: *stamp,
                view: *view,
                first_block: *first_block,
                unit: *unit,
            },
            Self::Hole { oid, shape, first_block, count, stamp, view } => Fixed {
                kind: kind::HOLE,
                detail: shape.shift(),
                count: *count,
                subject: oid.get(),
                stamp: *stamp,
                view: *view,
                first_block: *first_block,
                unit: 0,
            },
            Self::Reset { oid, stamp, view } => Fixed {
                kind: kind::RESET,
                subject: oid.get(),
                stamp: *stamp,
                view: *view,
                ..Fixed::default()
            },
            Self::View { oid, view } => {
                Fixed { kind: kind::VIEW, subject: oid.get(), view: *view, ..Fixed::default() }
            }
            Self::Watermark { vid, stable } => Fixed {
                kind: kind::WATERMARK,
                subject: u64::from(vid.get()),
                stamp: *stable,
                ..Fixed::default()
            },
            Self::Settle { vid, below, oids } => Fixed {
                kind: kind::SETTLE,
                count: oids.len() as u32,
                subject: u64::from(vid.get()),
                stamp: Stamp::new(*below, 0),
                ..Fixed::default()
            },
            Self::Unstable(change) => listed(kind::UNSTABLE, change),
            Self::Stable(change) => listed(kind::STABLE, change),
            Self::Undone(change) => listed(kind::UNDONE, change),
            Self::Forget { bucket } => {
                Fixed { kind: kind::FORGET, subject: u64::from(*bucket), ..Fixed::default() }
            }
            Self::Drop { oids } => {
                Fixed { kind: kind::DROP, count: oids.len() as u32, ..Fixed::default() }
            }
        }
    }

    /// Appends the record without its blocks.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        let fixed = self.fixed();
        let mut bytes = [0_u8; RECORD_BYTES];
        field::KIND.put(&mut bytes, fixed.kind);
        field::DETAIL.put(&mut bytes, fixed.detail);
        field::COUNT.put(&mut bytes, fixed.count);
        field::SUBJECT.put(&mut bytes, fixed.subject);
        field::STAMP.put(&mut bytes, fixed.stamp.get());
        field::VIEW.put(&mut bytes, fixed.view.0);
        field::FIRST_BLOCK.put(&mut bytes, fixed.first_block);
        field::UNIT.put(&mut bytes, fixed.unit);
        writer.bytes(&bytes);
        match self {
            Self::Write { checksums, .. } | Self::Placed { checksums, .. } => {
                for checksum in checksums {
                    writer.u32(*checksum);
                }
                writer.zeros(write_bytes(checksums.len()) - RECORD_BYTES - checksums.len() * 4);
            }
            Self::Settle { oids, .. } | Self::Drop { oids } => {
                for oid in oids {
                    writer.u64(oid.get());
                }
            }
            _ => {}
        }
    }

    /// Takes one record from the front (RC1).
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let bytes = reader.bytes(RECORD_BYTES)?;
        if !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("reserved bytes of a record"));
        }
        let fixed = Fixed {
            kind: field::KIND.get(bytes),
            detail: field::DETAIL.get(bytes),
            count: field::COUNT.get(bytes),
            subject: field::SUBJECT.get(bytes),
            stamp: Stamp::from_wire(field::STAMP.get(bytes)),
            view: View(field::VIEW.get(bytes)),
            first_block: field::FIRST_BLOCK.get(bytes),
            unit: field::UNIT.get(bytes),
        };
        let record = decode_kind(&fixed, reader)?;
        // RC1: fields that the kind does not use are zero.
        let used = record.fixed();
        let same = used.detail == fixed.detail
            && used.count == fixed.count
            && used.subject == fixed.subject
            && used.stamp == fixed.stamp
            && used.view == fixed.view
            && used.first_block == fixed.first_block
            && used.unit == fixed.unit;
        if same { Ok(record) } else { Err(WireError::Invalid("unused field of a record")) }
    }
}

/// Bytes of a write record: its checksums are padded to eight bytes.
pub(crate) const fn write_bytes(blocks: usize) -> usize {
    RECORD_BYTES + (blocks * 4).next_multiple_of(8)
}

fn decode_kind(fixed: &Fixed, reader: &mut Reader<'_>) -> Result<Record, WireError> {
    let Fixed { count, stamp, view, first_block, .. } = *fixed;
    match fixed.kind {
        kind::WRITE => {
            let (oid, shape) = (fixed.oid()?, fixed.shape()?);
            let checksums = decode_checksums(count, reader)?;
            Ok(Record::Write { oid, shape, first_block, stamp, view, checksums })
        }
        kind::PLACED => {
            let (oid, shape) = (fixed.oid()?, fixed.shape()?);
            if first_block % UNIT_BLOCKS + count > UNIT_BLOCKS {
                return Err(WireError::Invalid("blocks of a placed record"));
            }
            let checksums = decode_checksums(count, reader)?;
            let unit = fixed.unit;
            Ok(Record::Placed { oid, shape, first_block, stamp, view, checksums, unit })
        }
        kind::HOLE => {
            let (oid, shape) = (fixed.oid()?, fixed.shape()?);
            Ok(Record::Hole { oid, shape, first_block, count, stamp, view })
        }
        kind::RESET => Ok(Record::Reset { oid: fixed.oid()?, stamp: fixed.change()?, view }),
        kind::VIEW => Ok(Record::View { oid: fixed.oid()?, view }),
        kind::WATERMARK => Ok(Record::Watermark { vid: fixed.vid()?, stable: stamp }),
        kind::SETTLE => {
            let vid = fixed.vid()?;
            let oids = decode_oids(count, reader)?;
            Ok(Record::Settle { vid, below: stamp.generation(), oids })
        }
        kind::UNSTABLE => Ok(Record::Unstable(fixed.listed()?)),
        kind::STABLE => Ok(Record::Stable(fixed.listed()?)),
        kind::UNDONE => Ok(Record::Undone(fixed.listed()?)),
        kind::DROP => Ok(Record::Drop { oids: decode_oids(count, reader)? }),
        kind::FORGET => {
            let bucket = u8::try_from(fixed.subject);
            Ok(Record::Forget { bucket: bucket.map_err(|_| WireError::Invalid("bucket"))? })
        }
        _ => Err(WireError::Invalid("kind of a record")),
    }
}

fn decode_checksums(count: u32, reader: &mut Reader<'_>) -> Result<Vec<u32>, WireError> {
    let raw = reader.bytes(count as usize * 4)?;
    reader.zeros(write_bytes(count as usize) - RECORD_BYTES - raw.len())?;
    let (raw, _) = raw.as_chunks::<4>();
    Ok(raw.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
}

fn decode_oids(count: u32, reader: &mut Reader<'_>) -> Result<Vec<Oid>, WireError> {
    let (raw, _) = reader.bytes(count as usize * 8)?.as_chunks::<8>();
    let oid = |bytes: &[u8; 8]| Oid::from_wire(u64::from_le_bytes(*bytes));
    let oids = raw.iter().map(oid).collect::<Option<Vec<_>>>();
    oids.ok_or(WireError::Invalid("oid of a record"))
}

/// A change as it stands in the unstable list.
fn listed(kind: u8, change: &Unstable) -> Fixed {
    Fixed {
        kind,
        detail: unstable_detail(change.kind),
        count: change.count,
        subject: change.oid.get(),
        stamp: change.stamp,
        first_block: change.first_block,
        ..Fixed::default()
    }
}

impl Fixed {
    fn listed(&self) -> Result<Unstable, WireError> {
        let kind = unstable_kind(self.detail)?;
        let Self { count, first_block, .. } = *self;
        Ok(Unstable { stamp: self.change()?, oid: self.oid()?, first_block, kind, count })
    }

    fn oid(&self) -> Result<Oid, WireError> {
        Oid::from_wire(self.subject).ok_or(WireError::Invalid("oid of a record"))
    }

    fn vid(&self) -> Result<Vid, WireError> {
        u32::try_from(self.subject)
            .ok()
            .and_then(Vid::new)
            .ok_or(WireError::Invalid("vid of a record"))
    }

    /// Size of the object, into which the blocks must fit.
    fn shape(&self) -> Result<Shape, WireError> {
        let shape = Shape::new(self.detail).ok_or(WireError::Invalid("object shift"))?;
        let end = self.first_block.checked_add(self.count);
        if self.count == 0 || end.is_none_or(|end| end > shape.blocks()) {
            return Err(WireError::Invalid("block range of a record"));
        }
        self.change()?;
        Ok(shape)
    }

    fn change(&self) -> Result<Stamp, WireError> {
        if self.stamp == Stamp::NONE {
            return Err(WireError::Invalid("stamp of a record"));
        }
        Ok(self.stamp)
    }
}

fn unstable_detail(kind: UnstableKind) -> u8 {
    match kind {
        UnstableKind::Write => kind::WRITE,
        UnstableKind::Hole => kind::HOLE,
        UnstableKind::Reset => kind::RESET,
    }
}

fn unstable_kind(detail: u8) -> Result<UnstableKind, WireError> {
    match detail {
        kind::WRITE => Ok(UnstableKind::Write),
        kind::HOLE => Ok(UnstableKind::Hole),
        kind::RESET => Ok(UnstableKind::Reset),
        _ => Err(WireError::Invalid("kind of an unstable change")),
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { oid, first_block, stamp, view, checksums, .. } => {
                write!(f, "write {oid} {first_block}+{} {stamp} view {view}", checksums.len())
            }
            Self::Placed { oid, first_block, stamp, view, checksums, unit, .. } => {
                let count = checksums.len();
                write!(f, "placed {oid} {first_block}+{count} {stamp} view {view} in unit {unit}")
            }
            Self::Hole { oid, first_block, count, stamp, view, .. } => {
                write!(f, "hole {oid} {first_block}+{count} {stamp} view {view}")
            }
            Self::Reset { oid, stamp, view } => write!(f, "reset {oid} {stamp} view {view}"),
            Self::View { oid, view } => write!(f, "view {oid} {view}"),
            Self::Watermark { vid, stable } => write!(f, "watermark {vid} {stable}"),
            Self::Settle { vid, below, oids } => {
                write!(f, "settle {vid} below {below} {oids:?}")
            }
            Self::Unstable(Unstable { stamp, oid, first_block, kind, count }) => {
                write!(f, "unstable {kind:?} {oid} {first_block}+{count} {stamp}")
            }
            Self::Stable(Unstable { stamp, oid, first_block, kind, count }) => {
                write!(f, "stable {kind:?} {oid} {first_block}+{count} {stamp}")
            }
            Self::Undone(Unstable { stamp, oid, first_block, kind, count }) => {
                write!(f, "undone {kind:?} {oid} {first_block}+{count} {stamp}")
            }
            Self::Forget { bucket } => write!(f, "forget bucket {bucket}"),
            Self::Drop { oids } => write!(f, "drop {oids:?}"),
        }
    }
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
