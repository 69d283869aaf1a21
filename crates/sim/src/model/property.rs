//! Property: what must hold in every state, and what must be reachable at all.
//!
//! Why: a model that never gets into trouble proves nothing; the second list guards the first.

use stateright::Property;

use super::Placement;
use super::right;
use super::state::{Fault, Phase, Post, State};
use sheepdog_proto::{Generation, Stamp};

/// An acknowledged write is in every later read, or a newer one is.
pub const NO_LOST_WRITE: &str = "an acknowledged write is never lost";
/// No read goes back behind an earlier one.
pub const NO_TURNS: &str = "no read returns an older value than an earlier read";
/// Fencing at the members.
pub const FENCED: &str = "no older generation changes or acknowledges after the barrier";
/// INSYNC-COMPLETE.
pub const INSYNC_HOLDS: &str = "every in-sync member holds every acknowledged write";
/// UNSTABLE-KNOWN: what nobody lists is the same everywhere.
pub const UNLISTED_EQUAL: &str = "in-sync members that do not list the block agree on it";

/// A write is acknowledged by fewer members than the group has.
pub const DEGRADED_ACK: &str = "a degraded write is acknowledged";
/// The next owner has to settle the dead owner's write.
pub const MID_WRITE_ATTACH: &str = "reconcile takes over a write that its owner never finished";
/// The case that the barrier of a returned member is for.
pub const LONE_RETURN: &str = "an un-Acted member returns that alone holds an unacknowledged write";
/// The zombie's late word to its client.
pub const LATE_ACK: &str = "a gateway finishes a write after the next one serves";
/// Nobody who remains need know of it.
pub const UNSEEN_ACT: &str = "Act takes effect before any survivor has applied the Down";

/// The situations that must be reachable.
#[must_use]
pub fn reach() -> Vec<Property<Placement>> {
    vec![
        Property::sometimes(DEGRADED_ACK, is_degraded_ack),
        Property::sometimes(MID_WRITE_ATTACH, is_mid_write_attach),
        Property::sometimes(LONE_RETURN, is_lone_return),
        Property::sometimes(LATE_ACK, is_late_ack),
        Property::sometimes(UNSEEN_ACT, is_unseen_act),
    ]
}

/// The properties that hold in every state.
#[must_use]
pub fn safety() -> Vec<Property<Placement>> {
    vec![
        Property::always(NO_LOST_WRITE, |_, s: &State| s.fault != Some(Fault::LostWrite)),
        Property::always(NO_TURNS, |_, s: &State| s.fault != Some(Fault::OlderAfterNewer)),
        Property::always(FENCED, |_, s: &State| !s.unfenced),
        Property::always(INSYNC_HOLDS, |_, s| insync_holds(s)),
        Property::always(UNLISTED_EQUAL, |_, s| unlisted_equal(s)),
    ]
}

fn insync_holds(state: &State) -> bool {
    state.gateways.iter().zip(1..).all(|(gateway, generation)| {
        let acked = Stamp::new(Generation(generation), u64::from(gateway.done));
        gateway.done == 0 || state.tail.insync.iter().all(|m| state.replica(m).stamp >= acked)
    })
}

fn unlisted_equal(state: &State) -> bool {
    let mut copies = state.tail.insync.iter().map(|m| state.replica(m));
    let listed = state.tail.insync.iter().any(|m| state.replica(m).unstable);
    let Some(first) = copies.next() else {
        return true;
    };
    listed || copies.all(|replica| replica.write == first.write)
}

fn owners(state: &State) -> impl Iterator<Item = u8> {
    (1..=3).filter(|generation| state.gateway(*generation).post == Post::Owner)
}

fn is_degraded_ack(model: &Placement, state: &State) -> bool {
    owners(state).any(|generation| {
        let gateway = state.gateway(generation);
        gateway.control.write_set().count() < model.config.bounds.members
            && gateway.flight.is_some_and(|flight| !flight.reconcile)
            && right::is_acked(&model.config, state, generation)
    })
}

fn is_mid_write_attach(model: &Placement, state: &State) -> bool {
    owners(state).any(|generation| {
        let flight = state.gateway(generation).flight;
        flight.is_some_and(|f| f.reconcile && f.write > 0 && state.finished & 1 << f.write == 0)
            && right::is_acked(&model.config, state, generation)
    })
}

fn is_lone_return(_: &Placement, state: &State) -> bool {
    let joined = |member: u8| state.log.contains(&super::control::Entry::Join(member));
    let alone = |member: u8| {
        let write = state.replica(member).write;
        let others = || state.tail.insync.iter().filter(|other| *other != member);
        write > 0
            && state.finished & 1 << write == 0
            && others().count() > 0
            && others().all(|other| state.replica(other).write != write)
    };
    let mut returned = state.tail.live().iter().filter(|m| joined(*m));
    returned.any(|m| {
        state.replica(m).stamp.generation().0 < u32::from(state.tail.generation) && alone(m)
    })
}

fn is_late_ack(model: &Placement, state: &State) -> bool {
    owners(state).any(|generation| {
        let flight = state.gateway(generation).flight;
        flight.is_some_and(|f| !f.reconcile)
            && right::is_acked(&model.config, state, generation)
            && owners(state)
                .any(|next| next > generation && right::is_serving(&model.config, state, next))
    })
}

fn is_unseen_act(_: &Placement, state: &State) -> bool {
    let end = state.log_length as usize;
    let acted = end > 1
        && matches!(state.log[end - 1], super::control::Entry::Act(_))
        && matches!(state.log[end - 2], super::control::Entry::Down(_));
    acted
        && state.tail.insync.iter().all(|m| {
            let replica = state.replica(m);
            replica.phase == Phase::Up && (replica.applied as usize) < end - 1
        })
}
