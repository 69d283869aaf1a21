//! Tests of the `dog` program as its users start it, against a fake sheep.

mod data;
mod fake;
mod golden;
mod playground;
mod usage;
