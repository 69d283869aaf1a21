//! `dog cluster`: the cluster as a whole.

pub(super) mod format;
pub(super) mod info;
pub(super) mod shutdown;
