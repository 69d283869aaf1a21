//! `dog node`: the sheep of the cluster.

pub(super) mod info;
pub(super) mod list;
pub(super) mod md;
pub(crate) mod recovery;
