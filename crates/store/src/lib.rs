//! Objects in one directory of a disk, each block old or new after any crash.
//!
//! Why: a write is acknowledged only when a power cut cannot undo it, and no byte is ever
//!      returned that was not checked.
//! Way: [`Store::submit`] takes requests, [`Store::turn`] lets them go on, a reply comes when it
//!      is true (`store`). Changes go to a write-ahead log (`wal`), what is known of them is in
//!      memory (`contents`), checkpoints put everything in place (`format` has the bytes).
//!      [`Home`] owns the directory of one sheep: its lock, its name, the places of its stores.
//!      [`serve`] says in the store's words what another sheep asks for.
//!      [`inspect`] shows what is on a disk without a sheep.
//! Holds: ST1 to ST6, in `store`, each quoted where it is kept.
//! Not here: nodes, placement, views as anything but numbers (engine); threads (sheep).

mod contents;
pub mod copy;
pub mod disk;
mod error;
mod format;
pub mod home;
pub mod inspect;
mod layout;
mod request;
pub mod serve;
mod shape;
mod store;
mod tombstone;
mod unstable;
mod wal;

pub use disk::{Disk, DiskError, Engine, FakeDisk, FileId, RealDisk, Recorder};
pub use error::{Corruption, Refusal, StoreError};
pub use home::{
    BUCKETS, DISKS_MAX, DiskDirectory, DiskEntry, DiskState, DiskTable, Home, HomeError, bucket_of,
};
pub use request::{
    Block, BlockState, Listing, ObjectSummary, ReadReply, Reply, Request, Unstable, UnstableKind,
};
pub use store::{Answer, OpenReport, Options, Statistics, Store};
