//! Objects in one directory of a disk, each block old or new after any crash.
//!
//! Why: a write is acknowledged only when a power cut cannot undo it, and no byte is ever
//!      returned that was not checked.
//! Way: [`Store::execute`] plans a batch (`contents`), commits it to the `journal` with one
//!      append and one sync, then puts it in place in the object files (`object`); after a
//!      crash [`Store::open`] replays the journal. [`Home`] owns the directory of one sheep:
//!      its lock, its superblock, and the directories of its stores.
//! Holds (each quoted where it is kept):
//!   ST1 a batch is answered only after its journal records are synced (WAL-BEFORE-ACK);
//!   ST2 nothing is changed in place before the journal holds it (OLD-UNTIL-COMMITTED);
//!   ST3 a segment is recycled only after all it says is synced in place (CKPT-BEFORE-RECYCLE);
//!   ST4 a bad journal batch before a good one stops the open (NO-SILENT-TRUNCATION);
//!   ST5 after a failed sync or write nothing more is done or answered (FSYNC-ONCE);
//!   ST6 every change since its watermark is in the unstable list, also after a crash.
//! Not here: nodes, placement, views as anything but numbers (engine); threads (sheep).

mod contents;
pub mod disk;
mod error;
pub mod home;
mod journal;
mod layout;
mod object;
mod request;
mod store;
mod tombstone;
mod unstable;

pub use disk::{Disk, DiskError, FakeDisk, FileId, RealDisk};
pub use error::{Corruption, Refusal, StoreError};
pub use home::{Home, HomeError};
pub use request::{
    Block, BlockState, Listing, ObjectSummary, ReadReply, Reply, Request, Unstable, UnstableKind,
};
pub use store::{OpenReport, Options, Store};
