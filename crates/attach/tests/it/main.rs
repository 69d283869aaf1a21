//! The faces against real clients: QEMU's tools and libnbd.

// The door in memory is written for the crate's own tests and names things as they do.
pub(crate) use sheepdog_attach::{door, opener};

#[path = "../../src/testing.rs"]
#[allow(dead_code, reason = "the unit tests use the rest of it")]
mod testing;

mod nbd;
mod server;
mod tool;
