//! The store from outside: against a model, through power cuts, faults and rot.
//!
//! Way: every test draws its histories from seeds. A failure prints the seed;
//!      `SHEEPDOG_STORE_SEED=n` runs that seed alone, `SHEEPDOG_STORE_SEEDS=n` runs n seeds
//!      of every test in place of the few that fit into an ordinary run.

mod fallback;
mod faults;
mod full;
mod full_goes_on;
mod golden;
mod history;
mod inspect;
mod limits;
mod lost_file;
mod model;
mod model_check;
mod moves;
mod oracle;
mod places;
mod power_cut;
mod races;
mod real;
mod recorder;
mod repeated_crash;
mod rot;
mod rot_place;
mod rules;
mod seeds;
mod undo;
