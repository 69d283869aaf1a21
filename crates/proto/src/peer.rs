//! Messages between sheep.
//!
//! Way: a gateway builds a [`Request`], `emit` gives its header and metadata, the payload follows
//!      untouched. The receiver parses 96 bytes into a [`Header`], reads exactly the metadata and
//!      data that it declares (both bounded), and assembles the message.
//! Holds:
//!   M1 every request carries generation, view, stamp and stable watermark, so that a replica can
//!      refuse what is old without asking anyone (FENCE, VIEW);
//!   M2 header, metadata and each data block have a checksum of their own (CRC-E2E);
//!   M3 a length is bounded before it is believed.
//! The byte layout is drawn in docs/formats/peer.md.

mod body;
mod header;
mod hello;
mod pull;

pub use body::{
    BlockMeta, BlockState, PeerError, Reply, ReplyBody, Request, RequestBody, Unstable,
    UnstableKind,
};
pub use header::{BLOCKS_MAX, HEADER_BYTES, Header, LIST_MAX};
pub use hello::{FEATURES, HELLO_BYTES, Hello, PEER_VERSION};
pub use pull::{Listed, Listing, Pulled};

#[cfg(test)]
mod tests;
