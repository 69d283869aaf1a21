//! Faces: how virtual machines reach their disks.
//!
//! Why: each client speaks its own protocol; behind [`door::Door`] they are all the same.
//! Way: `sheep` accepts a connection and calls `legacy::serve` or `nbd::serve`; the face decodes,
//!      calls the door, and answers. A connection whose VDI lives on another shard is handed over
//!      as a [`door::Parcel`], so that its requests stay on the core of their attachment.
//! Not here: attachments, replication (engine), sockets that listen (sheep).

pub mod door;
pub mod opener;
