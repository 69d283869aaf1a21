//! Step: what each action changes.
//!
//! Holds:
//!   P1 a copy changes only to a newer stamp, but for a joiner, which takes over its source's;
//!   P2 a copy, its stamp and its place in the unstable list become durable as one, before the
//!      acknowledgement.
//! Not here: when an action is possible (action.rs, right.rs).

use sheepdog_proto::{Generation, Stamp};

use super::action::Action;
use super::config::{Config, MEMBERS_MAX, Rule};
use super::control::{Control, Entry, Notes};
use super::right;
use super::state::{Fault, Flight, LOG_MAX, Phase, Post, State};

/// The state after `action`; `None` if it changes nothing.
#[must_use]
pub fn next(config: &Config, before: &State, action: Action) -> Option<State> {
    let mut state = *before;
    match action {
        Action::Down(member) => {
            state.downs += 1;
            append(config, &mut state, Entry::Down(member));
        }
        Action::Join(member) => join(config, &mut state, member),
        Action::Act => {
            let view = state.tail.view;
            append(config, &mut state, Entry::Act(view));
        }
        Action::Attach => attach(config, &mut state),
        Action::InSync(member) => append(config, &mut state, Entry::InSync(member)),
        Action::MemberApplies(member) => {
            let (control, applied) = apply_next(
                config,
                &state,
                state.replica(member).control,
                state.replica(member).applied,
            );
            let replica = state.replica_mut(member);
            replica.control = control;
            replica.applied = applied;
        }
        Action::GatewayApplies(generation) => gateway_applies(config, &mut state, generation),
        Action::Barrier(generation, member) => {
            let replica = state.replica_mut(member);
            replica.barriered |= bit(generation);
            let listed = replica.unstable;
            state.gateway_mut(generation).dirty |= listed;
        }
        Action::Reconcile(generation) => reconcile(config, &mut state, generation),
        Action::Settle(generation) => state.gateway_mut(generation).dirty = false,
        Action::Write(generation) => write(config, &mut state, generation),
        Action::Arrive(generation, member, view) => {
            arrive(config, &mut state, generation, member, view);
        }
        Action::Finish(generation) => finish(&mut state, generation),
        Action::Mark(_, member) => state.replica_mut(member).unstable = false,
        Action::Read(_, member) => {
            read(&mut state, member);
            if state.seen == before.seen && state.fault.is_none() {
                return None;
            }
        }
        Action::Pull(member, from) => pull(config, &mut state, member, from),
    }
    state.canonical(config);
    (state != *before).then_some(state)
}

const fn bit(generation: u8) -> u8 {
    1 << (generation - 1)
}

const fn stamp(generation: u8, sequence: u8) -> Stamp {
    Stamp::new(Generation(generation as u32), sequence as u64)
}

fn append(config: &Config, state: &mut State, entry: Entry) {
    let index = state.log_length + 1;
    // A view is an index into a flight's record of what was sent.
    assert!((index as usize) < LOG_MAX, "the bounds allow a log longer than the model's");
    state.log[state.log_length as usize] = entry;
    state.log_length = index;
    state.tail.apply(index, entry, notes(config));
}

const fn notes(config: &Config) -> Notes {
    Notes { returned: !config.rules.has(Rule::BarrierReturned), left: config.delta }
}

fn apply_next(config: &Config, state: &State, control: Control, applied: u8) -> (Control, u8) {
    let mut control = control;
    control.apply(applied + 1, state.log[applied as usize], notes(config));
    (control, applied + 1)
}

fn join(config: &Config, state: &mut State, member: u8) {
    append(config, state, Entry::Join(member));
    let (tail, index) = (state.tail, state.log_length);
    let replica = state.replica_mut(member);
    replica.phase = Phase::Up;
    replica.control = tail;
    replica.applied = index;
    if !config.rules.has(Rule::DurableList) {
        replica.unstable = false;
    }
    if tail.joiners().has(member) {
        replica.joined = index;
        replica.present = false;
        if config.delta {
            return;
        }
        replica.stamp = Stamp::NONE; // P1
        replica.write = 0;
        replica.unstable = false;
    }
}

fn attach(config: &Config, state: &mut State) {
    append(config, state, Entry::Attach);
    let (tail, index) = (state.tail, state.log_length);
    let gateway = state.gateway_mut(tail.generation);
    gateway.post = Post::Owner;
    gateway.control = tail;
    gateway.applied = index;
}

// Sending again is part of applying: a gateway that is slower sends what arrives later.
fn gateway_applies(config: &Config, state: &mut State, generation: u8) {
    let before = state.gateway(generation).control.view;
    let gateway = state.gateway(generation);
    let (control, applied) = apply_next(config, state, gateway.control, gateway.applied);
    let gateway = state.gateway_mut(generation);
    gateway.control = control;
    gateway.applied = applied;
    if control.view == before || control.generation != generation {
        return;
    }
    send(config, state, generation);
    if config.rules.has(Rule::AcksOfThisView) {
        for replica in &mut state.replicas {
            replica.acked &= !bit(generation);
        }
    }
}

fn send(config: &Config, state: &mut State, generation: u8) {
    let gateway = state.gateway_mut(generation);
    if right::may_send(config, gateway)
        && let Some(flight) = &mut gateway.flight
    {
        for member in gateway.control.write_set().iter() {
            flight.sent[member as usize] |= 1 << gateway.control.view;
        }
    }
}

fn start(config: &Config, state: &mut State, generation: u8, write: u8, stamp: Stamp, own: bool) {
    let flight = Flight { write, stamp, reconcile: !own, sent: [0; MEMBERS_MAX as usize] };
    state.gateway_mut(generation).flight = Some(flight);
    send(config, state, generation);
}

fn write(config: &Config, state: &mut State, generation: u8) {
    state.writes += 1;
    let write = state.writes;
    state.seen.start(write);
    state.unread.start(write);
    let sequence = state.gateway(generation).done + 1;
    start(config, state, generation, write, stamp(generation, sequence), true);
}

fn reconcile(config: &Config, state: &mut State, generation: u8) {
    let gateway = state.gateway(generation);
    let sequence = gateway.done + 1;
    let copies = gateway.control.live().iter().map(|m| state.replica(m));
    if let Some(newest) = copies.max_by_key(|replica| replica.stamp) {
        let fresh = if config.rules.has(Rule::FreshStamp) {
            stamp(generation, sequence)
        } else {
            newest.stamp
        };
        start(config, state, generation, newest.write, fresh, false);
    }
}

fn arrive(config: &Config, state: &mut State, generation: u8, member: u8, view: u8) {
    let gateway = state.gateway(generation);
    let Some(flight) = gateway.flight else {
        return;
    };
    let counts = gateway.post == Post::Owner
        && (gateway.control.view == view || !config.rules.has(Rule::AcksOfThisView));
    let replica = state.replica_mut(member);
    let before = *replica;
    if flight.stamp > replica.stamp {
        replica.stamp = flight.stamp; // P1, P2
        replica.write = flight.write;
        replica.unstable = true;
    }
    let is_applied = before.stamp < flight.stamp;
    if config.delta && (is_applied || config.rules.has(Rule::RaiseModified)) {
        replica.modified = replica.modified.max(view);
    }
    replica.present |= replica.control.joiners().has(member);
    if counts {
        replica.acked |= bit(generation);
    }
    if *replica != before && replica.barriered >> generation != 0 {
        state.unfenced = true;
    }
}

fn finish(state: &mut State, generation: u8) {
    let gateway = state.gateway_mut(generation);
    let Some(flight) = gateway.flight.take() else {
        return;
    };
    // A copy written again under its old stamp takes no number.
    if flight.stamp == stamp(generation, gateway.done + 1) {
        gateway.done += 1;
    }
    if flight.reconcile {
        gateway.dirty = false;
        return;
    }
    state.seen.finish(flight.write);
    state.unread.finish(flight.write);
    state.finished |= 1 << flight.write;
}

fn read(state: &mut State, member: u8) {
    let value = state.replica(member).write;
    if !state.seen.read(value) {
        let allowed = state.unread.clone().read(value);
        let fault = if allowed { Fault::OlderAfterNewer } else { Fault::LostWrite };
        state.fault = Some(fault);
    }
}

fn pull(config: &Config, state: &mut State, member: u8, from: u8) {
    let source = *state.replica(from);
    let replica = state.replica_mut(member);
    replica.present = true;
    let left = replica.control.left[member as usize];
    if config.delta && source.modified < left && !source.unstable && !replica.unstable {
        return; // Accepted unread.
    }
    replica.modified = source.modified;
    replica.stamp = source.stamp; // P1
    replica.write = source.write;
    replica.unstable = source.unstable;
}
