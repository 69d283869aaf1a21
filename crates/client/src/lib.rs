//! Clients of a sheep, one for each of its faces.
//!
//! Why: `dog` and the tests talk to a sheep as strangers do, over the wire, never inside it.
//! Way: [`admin`] speaks HTTP/JSON, [`nbd`] and [`legacy`] read and write disks; each is given an
//!      [`endpoint`].
//! Not here: the servers (sheep, attach).

pub mod admin;
pub mod endpoint;
pub mod legacy;
pub mod nbd;
