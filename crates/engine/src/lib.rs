//! Decisions of Sheepdog, as pure functions and state machines.
//!
//! Why: what must never be wrong is kept free of files, sockets, threads, clocks and chance, so
//!      that the same code runs in the daemon and in a simulator.
//! Way: the log feeds [`state::ClusterState`]; it places groups with [`placement`]; a face's
//!      [`volume::Operation`] enters [`gateway`], which sends `proto::peer` messages;
//!      [`replica`] decides what a member does with them.
//! Not here: bytes on disks (store), sockets (sheep, attach), the log itself (cluster).

pub mod absence;
pub mod gateway;
pub mod join;
pub mod placement;
pub mod replica;
pub mod scrub;
pub mod state;
pub mod volume;
