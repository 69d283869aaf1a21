//! What the end-to-end tests are made of: real sheep, real clients, and what must be true.
//!
//! Why: promises are about processes, sockets, disks and other people's programs, so they are
//!      tested with those, as strangers see them.
//! Way: a [`herd::Herd`] runs sheep in a place of its own; [`tool`] runs programs of others,
//!      [`qemu_io`] talks to one; [`tgt`] and [`iscsi`] are an iSCSI target and its client;
//!      [`disk::Disk`] is an open VDI through any face; [`history::History`] knows which bytes a
//!      disk may hold after any disaster, [`workload`] and [`stepper`] write; [`rot`] spoils.
//! Holds:
//!   E1 every process that is started is ended by its own number, however the test ends;
//!   E2 every wait has a limit and says what it waited for.
//! Not here: the tests themselves (`tests/it`).

pub mod disk;
pub mod herd;
pub mod history;
pub mod image;
pub mod iscsi;
mod iscsi_pdu;
pub mod port;
pub mod process;
pub mod qemu_io;
pub mod rot;
pub mod setting;
pub mod sheep;
pub mod stepper;
pub mod tgt;
pub mod tool;
pub mod wait;
pub mod workload;
