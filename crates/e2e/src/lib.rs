//! What the end-to-end tests are made of: real sheep, real clients, and what must be true.
//!
//! Why: promises are about processes, sockets, disks and other people's programs, so they are
//!      tested with those, as strangers see them.
//! Way: a [`herd::Herd`] runs sheep in a place of its own; [`tool`] runs programs of others,
//!      [`qemu_io`] talks to one; [`tgt`] and [`iscsi`] are an iSCSI target and its client;
//!      [`guest`] is a virtual machine;
//!      [`disk::Disk`] is an open VDI through any face; [`history::History`] knows which bytes a
//!      disk may hold after any disaster, [`workload`] and [`stepper`] write; [`rot`] spoils,
//!      [`loop_disk`] is a disk of a sheep that can fail, [`namespaces`] links that can be cut.
//!      [`ledger::Ledger`] and [`writers`] do so for blocks with one writer each, for whom
//!      [`copies`] looks into stores and [`cuts`] at what a power cut would have left.
//!      [`probe`] feels how long a disk does not answer, [`faults`] makes a table of that.
//! Holds:
//!   E1 every process that is started is ended by its own number, however the test ends;
//!   E2 every wait has a limit and says what it waited for.
//! Not here: the tests themselves (`tests/it`).

pub mod copies;
pub mod cuts;
pub mod disk;
pub mod faults;
pub mod filler;
pub mod guest;
pub mod herd;
pub mod history;
pub mod image;
pub mod iscsi;
mod iscsi_pdu;
pub mod kills;
pub mod ledger;
pub mod loop_disk;
pub mod mount;
pub mod namespaces;
pub mod port;
pub mod probe;
pub mod process;
pub mod qemu_io;
pub mod rot;
pub mod setting;
pub mod sheep;
pub mod soak;
pub mod stepper;
pub mod tgt;
pub mod tool;
pub mod wait;
pub mod workload;
pub mod writers;
