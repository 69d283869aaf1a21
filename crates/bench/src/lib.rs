//! Figures of whole clusters, always beside what this machine gives without Sheepdog.
//!
//! Why: a number of operations per second says nothing without the disk, the processor and the
//!      neighbours of that minute. So floors are measured in the same run, in turn with the
//!      cluster, and what is reported are ratios and spreads beside the plain figures.
//! Way: [`run`] goes through rounds, workloads and targets; [`cluster`] and [`floor`] are what is
//!      measured, through a [`disk`]; [`load`] keeps requests in flight; [`account`] reads what
//!      the kernel and [`prometheus`] what the sheep say about the costs; [`numbers`] and
//!      [`report`] make tables of it.
//! Holds:
//!   B1 every process that is started is ended by its own number, however the run ends;
//!   B2 every load is bounded in time and in count, every wait has a limit;
//!   B3 no byte that a load reads is taken on trust: a wrong block ends the run.
//! Not here: anything that ships, any judgement about a figure.

pub mod account;
pub mod cell;
pub mod cluster;
pub mod disk;
pub mod floor;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod numbers;
pub mod options;
pub mod payload;
pub mod place;
pub mod program;
pub mod prometheus;
pub mod random;
pub mod report;
pub mod run;
pub mod size;
pub mod store;
pub mod target;
pub mod tether;
pub mod wait;
pub mod workload;
