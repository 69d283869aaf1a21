//! Words and bytes shared by every part of Sheepdog.
//!
//! Why: one definition of each id and of each wire format, without I/O, clock or async.
//! Way: [`id`] names things, [`stamp`] orders writes, [`block`] checks 4 KiB blocks,
//!      [`buffer`] carries payloads; [`wire`] reads and writes bytes safely;
//!      [`legacy`], [`peer`] and [`command`] are the formats built on them.
//! Not here: decisions (engine), bytes on disk (store), sockets (client, attach).

pub mod block;
pub mod buffer;
pub mod command;
pub mod id;
pub mod legacy;
pub mod peer;
pub mod stamp;
pub mod wire;

pub use block::{BLOCK_BYTES, block_checksum};
pub use buffer::{Buffer, Payload};
pub use id::{
    Incarnation, LogIndex, NodeId, ObjectKind, Oid, Partition, PgId, PolicyId, Vid, View,
};
pub use stamp::{Generation, Stamp};
