mod client;
mod control;
mod framing;
mod lock;
pub(super) mod memory;
mod object;
mod replay;
mod shard;
mod takeover;
