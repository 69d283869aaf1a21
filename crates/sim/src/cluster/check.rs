//! What must be true, one file for each property.
//!
//! `history`  what clients read is what they wrote, in order, also across owners;
//! `fence`    a member does nothing for an older owner once it has answered a newer one;
//! `state`    what each entry of the log may do to the state;
//! `copies`   at the end all in-sync copies are equal, complete, and of VDIs that exist.
//! That everything is answered in the end is checked by `run`.

pub(super) mod copies;
pub(super) mod fence;
pub(super) mod history;
pub(super) mod state;
