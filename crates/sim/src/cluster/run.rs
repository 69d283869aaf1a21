//! One run: things break, all is healed, everything is answered and comes to rest, a last look.
//!
//! Holds:
//!   R1 after all is healed every client has its answers, and has read everything through several
//!      sheep, within a bounded virtual time (liveness);
//!   R2 within it every copy that should be in sync is.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event::Event;
use super::trace::{Counts, Kept, Lines, Trace};
use super::world::World;

const SECOND: u64 = 1_000_000_000;
/// R1.
const ANSWERED_NS: u64 = 120 * SECOND;
/// What is idle comes to rest within this.
const REST_NS: u64 = 3 * SECOND;

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of everything that happened, in order.
    pub hash: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// How often what happened.
    pub counts: Counts,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which seed.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// The last lines for people, if they were wanted.
    pub lines: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

/// Runs one seed.
///
/// # Errors
/// [`Failure`] if a property did not hold, or something panicked.
pub fn run(seed: u64, lines: Lines) -> Result<Report, Box<Failure>> {
    let kept = Kept::default();
    let trace = Trace::new(lines, kept.clone());
    // Nothing of the world is looked at after a panic.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, trace);
        let result = go(&mut world);
        let counts = std::mem::take(&mut world.trace.counts);
        result.map(|()| Report { hash: world.trace.hash(), virtual_ns: world.now, counts })
    }));
    let what = match result {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(what)) => what,
        Err(panic) => format!("panicked: {}", panic_text(&panic)),
    };
    let lines = kept.borrow().iter().cloned().collect();
    Err(Box::new(Failure { seed, what, lines }))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").to_owned()
}

fn go(world: &mut World) -> Result<(), String> {
    world.later(SECOND / 2, Event::Fault);
    world.later(SECOND, Event::Inspect);
    world.run_until(world.profile.danger_ns)?;
    world.heal();
    settle(world)
}

/// All is healed: everything is answered and comes to rest.
fn settle(world: &mut World) -> Result<(), String> {
    let end = world.now + ANSWERED_NS;
    while !(world.is_done() && world.all_serve()) && world.now < end {
        world.run_until((world.now + SECOND / 4).min(end))?;
    }
    if !world.is_done() {
        return Err(format!("R1: not answered: {}", world.describe_clients()));
    }
    while (world.groups_left() > 0 || !world.all_serve() || !world.all_follow()) && world.now < end
    {
        world.run_until((world.now + SECOND / 4).min(end))?;
    }
    if world.groups_left() > 0 {
        return Err(format!("R2: {} groups never complete", world.groups_left()));
    }
    world.run_until(world.now + REST_NS)?;
    if !world.all_serve() {
        return Err("R1: a sheep has ended after all was healed".to_owned());
    }
    world.check_copies()
}

#[cfg(test)]
#[path = "run/tests.rs"]
mod tests;
