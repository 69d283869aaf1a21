//! Whole clusters in one thread: the real engine and the real store, everything else simulated.
//!
//! Why: what the model walks through is a drawing of the protocol; here its code runs, on disks
//!      that lose power, over connections that break, with processes that die in the middle.
//! Way: a seed makes a `profile`; the `world` takes one event after the other out of a heap
//!      of virtual nanoseconds; `fault` breaks things, then all is healed; `check` judges.
//!      A sheep is its disks and at most one `life`; a life has shards (`shard`), each with a
//!      gateway, a store and its place in the `log`.
//! Holds:
//!   SIM1 a run is a function of its seed: one thread, no clock, no hash order, one generator;
//!   SIM2 what is not the engine's or the store's does here what it does in the daemon (named in
//!        each file), so that a violation is one of theirs, or of the daemon's wiring.
//! Not here: sockets, the faces' protocols, the log's drivers (e2e runs those).

mod check;
mod client;
mod control;
mod disk;
mod door;
mod event;
mod fault;
mod fuse;
mod join;
mod life;
mod link;
mod log;
mod many;
mod network;
mod profile;
mod queue;
mod random;
mod run;
mod shard;
mod show;
mod silence;
mod store;
mod sweep;
mod trace;
mod world;

pub use many::{Sum, run_many};
pub use run::{Failure, Report, run};
pub use trace::{Counts, Lines};
