//! Connections between sheep: shard to shard, one from each gateway's shard to each replica's.
//!
//! Way: `outgoing` keeps a connection and sends what the gateway wants sent; `incoming` takes it
//!      from the socket to the replica and answers; `frame` reads messages, several per system
//!      call; `send` writes them, payloads without a copy.
//! Holds:
//!   STREAM-TAKEOVER  a new connection of a shard ends the old one of the same shard before its
//!                    first message is looked at, so no old bytes overtake new ones.

pub(crate) mod frame;
pub(crate) mod incoming;
pub(crate) mod outgoing;
mod send;

use sheepdog_proto::peer::{FEATURES, Hello, PEER_VERSION};

use crate::shared::Shared;

/// What this sheep says of itself when it connects or is connected to.
pub(crate) fn hello(shared: &Shared, cluster: u128, source_shard: u16, target_shard: u16) -> Hello {
    Hello {
        cluster,
        uuid: shared.uuid,
        node: shared.me.node,
        incarnation: shared.me.incarnation,
        versions: (PEER_VERSION, PEER_VERSION),
        features: FEATURES,
        source_shard,
        target_shard,
    }
}
