//! The store from outside: against a model, through power cuts, faults and rot.
//!
//! Way: every test draws its histories from seeds. A failure prints the seed;
//!      `SHEEPDOG_STORE_SEED=n` runs that seed alone, `SHEEPDOG_STORE_SEEDS=n` runs n seeds
//!      of every test in place of the few that fit into an ordinary run.

mod faults;
mod full;
mod golden;
mod history;
mod model;
mod model_check;
mod power_cut;
mod real;
mod repeated_crash;
mod rot;
mod rules;
mod seeds;
