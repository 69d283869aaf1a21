//! Checks of the protocol that no single test of one crate can make.
//!
//! Why: the promises of the data path hold for every order of messages, crashes and log entries.
//! Way: [`model`] walks through every order that fits its bounds; [`cluster`] runs the real
//!      engine and the real store through orders that a seed chooses.

pub mod cluster;
pub mod model;
