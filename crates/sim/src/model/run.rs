//! Run: walks through every state that a configuration can reach.
//!
//! Way: [`check`] for a whole walk; [`find`] stops at a fault and tells the shortest way to it.
//! Holds: W1 a walk that ends without a fault has met every state of its bounds, but for two
//!        states that share a 64-bit code.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::config::Config;
use super::{Action, Placement};

/// A way to a fault.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The property that does not hold.
    pub property: &'static str,
    /// The steps from the first state.
    pub steps: Vec<Action>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken: {}", self.property)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}  {step}", number + 1)?;
        }
        Ok(())
    }
}

/// What a walk found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states met.
    pub states: usize,
    /// Steps taken, those to known states included.
    pub steps: usize,
    /// Longest way from the first state.
    pub depth: usize,
    /// Wall time.
    pub time: Duration,
    /// Every property that failed, with a way there.
    pub faults: Vec<Counterexample>,
    /// Situations that had to be reachable and were not met.
    pub unreached: Vec<&'static str>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, .. } = self;
        let seconds = self.time.as_secs_f64();
        write!(f, "{states} states, {steps} steps, depth {depth}, {seconds:.1} s")
    }
}

/// Walks through every state on two threads. // W1
#[must_use]
pub fn check(config: Config) -> Outcome {
    // The walk ends early only if every promise is broken.
    walk(config, 2, HasDiscoveries::AllFailures, None)
}

/// Walks until `property` is broken or no state is left, and tells the shortest way there.
#[must_use]
pub fn find(config: Config, property: &'static str) -> Outcome {
    let finish = || HasDiscoveries::AnyOf([property].into());
    let mut best = walk(config, 1, finish(), None);
    // The checker looks on for a while after a fault; ask again for a shorter way.
    while let Some(fault) = best.faults.iter().find(|fault| fault.property == property) {
        let shorter = walk(config, 1, finish(), NonZeroUsize::new(fault.steps.len() + 1));
        if !shorter.faults.iter().any(|fault| fault.property == property) {
            break;
        }
        best = shorter;
    }
    best
}

fn walk(
    config: Config,
    threads: usize,
    finish: HasDiscoveries,
    depth: Option<NonZeroUsize>,
) -> Outcome {
    let model = Placement { config };
    let began = Instant::now();
    let mut builder = model.checker().threads(threads).finish_when(finish);
    if let Some(depth) = depth {
        builder = builder.target_max_depth(depth.get());
    }
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let safety = super::property::safety();
    let faults = safety.iter().filter_map(|property| {
        let path = found.get(property.name)?;
        let steps = path.clone().into_actions();
        Some(Counterexample { property: property.name, steps })
    });
    let reach = super::property::reach();
    let wanted = reach.iter().map(|property| property.name);
    Outcome {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time: began.elapsed(),
        faults: faults.collect(),
        unreached: wanted.filter(|name| !found.contains_key(name)).collect(),
    }
}
