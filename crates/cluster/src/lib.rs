//! The coordination log: one totally ordered log of small entries, seen alike by every sheep.
//!
//! Why: one deterministic state machine fed by one log gives "who saw entry n saw all before
//!      it", on which fencing rests.
//! Way: a driver is opened and gives a [`CoordinationLog`] (append, will, close) and its
//!      [`Events`] (every entry in order, then live). Drivers: [`local`], for all sheep of one
//!      machine, which share a directory and need nothing else.
//! Holds, for every driver:
//!   L1 every member receives the same entries in the same order, each once, without gaps;
//!   L2 an append that returned `Ok` is durable and in the log exactly once; one whose answer
//!      never came is in it once or not at all;
//!   L3 the will of a session that ended without `close` is appended exactly once, and nothing
//!      of that session follows it; a closed session leaves no will;
//!   L4 an entry that any member has seen never disappears: a log that lost one is refused;
//!   L5 while the lease of a session lasts, its will is in nobody's log.
//! Not here: what payloads mean (proto, engine), who is a member (the state machine).

mod error;
mod lease;
pub mod local;
mod log;

pub use error::LogError;
pub use lease::Lease;
pub use log::{Answer, CoordinationLog, Entry, Event, Events};
