//! `dog vdi`: virtual disk images.

pub(super) mod check;
pub(super) mod create;
mod data;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod lock;
pub(super) mod object;
pub(super) mod read;
pub(super) mod resize;
pub(super) mod write;
