//! Checks of the protocol that no single test of one crate can make.
//!
//! Why: the promises of the data path hold for every order of messages, crashes and log entries.
//! Way: [`model`] walks through every order that fits its bounds.

pub mod model;
