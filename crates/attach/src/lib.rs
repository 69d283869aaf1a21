//! Faces: how virtual machines reach their disks.
//!
//! Why: each client speaks its own protocol; behind [`door::Door`] they are all the same.
//! Way: `sheep` accepts a connection and calls `legacy::Shard::serve` or `nbd::serve`; the face
//!      decodes, calls the door, and answers. A connection whose VDI lives on another shard is
//!      handed over as a [`door::Parcel`], so that its requests stay on the core of their
//!      attachment.
//! Not here: attachments, replication (engine), sockets that listen (sheep).

use std::time::Instant;

use door::{Door, Parcel, Stage};

pub mod door;
pub mod legacy;
pub mod nbd;
pub mod opener;
#[cfg(test)]
mod testing;

/// Goes on with a connection that another shard handed over. Runs on the shard that
/// [`Door::hand_over`] named, in a task of its own. A legacy connection needs what the legacy
/// connections of a shard share, so whoever has that calls [`legacy::Shard::serve`] instead.
pub async fn serve_parcel<D: Door>(door: D, parcel: Parcel) {
    match parcel.stage {
        Stage::Legacy => door.openers().disconnect(parcel.connection, Instant::now()),
        Stage::Nbd { .. } => nbd::resume(door, parcel).await,
    }
}
