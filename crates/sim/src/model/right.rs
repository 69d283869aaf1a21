//! Right: who may do what, as each process judges by the log prefix that it has applied.
//!
//! Why: each function is one rule of the protocol; a run may take one of them out.
//! Not here: what a step changes (step.rs).

use super::config::{Config, Rule};
use super::control::Members;
use super::state::{Gateway, Phase, Post, State};

/// Members whose barrier answer the gateway must have before it uses the block.
#[must_use]
pub fn needed(config: &Config, gateway: &Gateway) -> Members {
    let control = &gateway.control;
    let insync = if config.rules.has(Rule::AllInSync) { control.insync } else { control.live() };
    insync.or(control.joiners())
}

/// Whether every needed member has answered the barrier.
#[must_use]
pub fn is_barrier_done(config: &Config, state: &State, generation: u8) -> bool {
    let gateway = state.gateway(generation);
    let bit = 1 << (generation - 1);
    needed(config, gateway).iter().all(|member| {
        let returned = gateway.control.returned.has(member);
        state.replica(member).barriered & bit != 0
            || returned && !config.rules.has(Rule::BarrierReturned)
    })
}

/// Whether the gateway serves clients: barrier done and nothing left to reconcile.
#[must_use]
pub fn is_serving(config: &Config, state: &State, generation: u8) -> bool {
    let gateway = state.gateway(generation);
    gateway.post == Post::Owner
        && (!gateway.dirty || !config.rules.has(Rule::Reconcile))
        && is_barrier_done(config, state, generation)
}

/// Whether a client's write may be sent and acknowledged in the gateway's view.
#[must_use]
pub fn may_write(config: &Config, gateway: &Gateway) -> bool {
    let control = &gateway.control;
    (control.lost.is_empty() || !config.rules.has(Rule::ActFirst))
        && control.live().count() >= config.bounds.min_copies
}

/// Whether reconcile may write in the gateway's view. It gives the block no new value, so that
/// it need not wait for the fewest copies.
#[must_use]
pub fn may_reconcile(config: &Config, gateway: &Gateway) -> bool {
    gateway.control.lost.is_empty() || !config.rules.has(Rule::AllInSync)
}

/// Whether the flight of the gateway may be sent and finished in its view.
#[must_use]
pub fn may_send(config: &Config, gateway: &Gateway) -> bool {
    gateway.flight.is_some_and(|flight| {
        if flight.reconcile { may_reconcile(config, gateway) } else { may_write(config, gateway) }
    })
}

/// Whether every member of the write set has acknowledged the flight.
#[must_use]
pub fn is_acked(config: &Config, state: &State, generation: u8) -> bool {
    let gateway = state.gateway(generation);
    let bit = 1 << (generation - 1);
    gateway.post == Post::Owner
        && may_send(config, gateway)
        && gateway.control.write_set().iter().all(|m| state.replica(m).acked & bit != 0)
}

/// Whether a member answers the barrier of `generation`.
#[must_use]
pub fn answers_barrier(config: &Config, state: &State, generation: u8, member: u8) -> bool {
    let gateway = state.gateway(generation);
    let replica = state.replica(member);
    let later = config.rules.has(Rule::BarrierAfterAttach);
    gateway.post == Post::Owner
        && replica.phase == Phase::Up
        && gateway.control.insync.or(gateway.control.alive).has(member)
        && replica.barriered & (1 << (generation - 1)) == 0
        && (replica.control.generation == generation
            || !later && replica.control.generation < generation)
}

/// Whether a member accepts a request of `generation` that was sent under `view`.
#[must_use]
pub fn accepts(config: &Config, state: &State, member: u8, generation: u8, view: u8) -> bool {
    let rules = config.rules;
    let replica = state.replica(member);
    let own = replica.control.view;
    replica.phase == Phase::Up
        && (replica.control.generation <= generation || !rules.has(Rule::Fence))
        && (own <= view || !rules.has(Rule::RefuseOlderView))
        && (own >= view || !rules.has(Rule::HoldNewerView))
}

/// Whether the gateway may read the block from a member, and gets an answer.
#[must_use]
pub fn reads(config: &Config, state: &State, generation: u8, member: u8) -> bool {
    let gateway = state.gateway(generation);
    let rules = config.rules;
    is_serving(config, state, generation)
        && (state.tail.generation == generation || !rules.has(Rule::ReadLease))
        && (gateway.flight.is_none() || !rules.has(Rule::RangeLock))
        && gateway.control.live().has(member)
        && state.replica(member).control.live().has(member)
        && accepts(config, state, member, generation, gateway.control.view)
}
