//! Action: the steps that are possible in a state, in any order that the rules allow.
//!
//! Way: a crash needs no action of its own. A crashed process is one that takes no step until
//!      it joins again: all that the protocol relies on is durable before it is acknowledged.
//!      A crashed or paused gateway is one that takes no step; what it sent still arrives.
//! Not here: the effect of a step (step.rs).

use std::fmt;

use super::config::{ATTACHMENTS_MAX, Config, Rule};
use super::control::member_name;
use super::right;
use super::state::{Phase, Post, State};

/// One step of one process, or one arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `Down` of a member enters the log, rightly or not.
    Down(u8),
    /// A member starts a new life: its `Join` enters the log and it applies all up to there.
    Join(u8),
    /// `Act` enters the log, appended by whoever knows the view.
    Act,
    /// The owner's session ends and the next gateway attaches.
    Attach,
    /// A joiner that has everything is declared in sync.
    InSync(u8),
    /// A member applies its next entry.
    MemberApplies(u8),
    /// A gateway applies its next entry and re-sends its write under a new view.
    GatewayApplies(u8),
    /// A member answers the barrier of a generation.
    Barrier(u8, u8),
    /// A gateway takes the newest copy and writes it again under a fresh stamp.
    Reconcile(u8),
    /// A gateway finds that all copies carry one stamp: nothing to write.
    Settle(u8),
    /// A client writes through a gateway.
    Write(u8),
    /// A write arrives: generation, member, view under which it was sent.
    Arrive(u8, u8, u8),
    /// A gateway finishes its write: all acknowledged.
    Finish(u8),
    /// A watermark of a generation arrives at a member and covers its copy.
    Mark(u8, u8),
    /// A client reads through a gateway from a member.
    Read(u8, u8),
    /// A joiner copies the block from an in-sync member.
    Pull(u8, u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = member_name;
        match *self {
            Self::Down(m) => write!(f, "log: Down({})", name(m)),
            Self::Join(m) => write!(f, "log: Join({}); {} is back", name(m), name(m)),
            Self::Act => write!(f, "log: Act"),
            Self::Attach => write!(f, "log: Gone of the owner, Attach of the next gateway"),
            Self::InSync(m) => write!(f, "log: InSync({})", name(m)),
            Self::MemberApplies(m) => write!(f, "{} applies an entry", name(m)),
            Self::GatewayApplies(g) => write!(f, "gateway {g} applies an entry"),
            Self::Barrier(g, m) => write!(f, "{} answers the barrier of gateway {g}", name(m)),
            Self::Reconcile(g) => write!(f, "gateway {g} re-stamps the newest copy"),
            Self::Settle(g) => write!(f, "gateway {g} finds all copies equal"),
            Self::Write(g) => write!(f, "gateway {g} sends a new write"),
            Self::Arrive(g, m, v) => {
                write!(f, "write of gateway {g}, sent in view {v}, arrives at {}", name(m))
            }
            Self::Finish(g) => write!(f, "gateway {g} has every acknowledgement and finishes"),
            Self::Mark(g, m) => write!(f, "watermark of gateway {g} arrives at {}", name(m)),
            Self::Read(g, m) => write!(f, "gateway {g} reads from {}", name(m)),
            Self::Pull(m, from) => write!(f, "{} pulls from {}", name(m), name(from)),
        }
    }
}

/// Every step that is possible in `state`.
pub fn list(config: &Config, state: &State, out: &mut Vec<Action>) {
    if state.fault.is_some() {
        return;
    }
    list_log(config, state, out);
    for member in 0..config.bounds.members {
        list_member(config, state, member, out);
    }
    for generation in 1..=ATTACHMENTS_MAX {
        if state.gateway(generation).post == Post::Owner {
            list_gateway(config, state, generation, out);
        }
    }
}

fn list_log(config: &Config, state: &State, out: &mut Vec<Action>) {
    let tail = &state.tail;
    for member in 0..config.bounds.members {
        let placed = config.pull || tail.insync.has(member);
        if placed && tail.alive.has(member) && state.downs < config.bounds.downs {
            out.push(Action::Down(member));
        }
        if placed && !tail.alive.has(member) {
            out.push(Action::Join(member));
        }
    }
    if !tail.lost.is_empty() && !tail.live().is_empty() {
        out.push(Action::Act);
    }
    if tail.generation < config.bounds.attachments {
        out.push(Action::Attach);
    }
}

fn list_member(config: &Config, state: &State, member: u8, out: &mut Vec<Action>) {
    let replica = state.replica(member);
    if replica.phase != Phase::Up {
        return;
    }
    if replica.applied < state.log_length {
        out.push(Action::MemberApplies(member));
    }
    for generation in 1..=ATTACHMENTS_MAX {
        if let Some(flight) = &state.gateway(generation).flight {
            let mut views = flight.sent[member as usize];
            while views != 0 {
                let view = views.trailing_zeros() as u8;
                views &= views - 1;
                if right::accepts(config, state, member, generation, view) {
                    out.push(Action::Arrive(generation, member, view));
                }
            }
        }
        if is_mark_due(config, state, generation, member) {
            out.push(Action::Mark(generation, member));
        }
    }
    let control = &replica.control;
    if config.pull && control.joiners().has(member) {
        if !replica.present {
            let sources = (0..config.bounds.members).filter(|from| is_source(state, member, *from));
            out.extend(sources.map(|from| Action::Pull(member, from)));
        } else if state.tail.joiners().has(member) {
            out.push(Action::InSync(member));
        }
    }
}

// A source answers only once it has applied the entry by which the joiner became one (JOIN-GATE).
fn is_source(state: &State, member: u8, from: u8) -> bool {
    let source = state.replica(from);
    source.phase == Phase::Up
        && source.control.live().has(from)
        && source.applied >= state.replica(member).joined
}

// A watermark covers the copy if its stamp is of the same generation and not above it. Without
// `OwnWatermark` a later generation's watermark, risen by writes to other placement groups,
// covers the older generations too.
fn is_mark_due(config: &Config, state: &State, generation: u8, member: u8) -> bool {
    let replica = state.replica(member);
    let gateway = state.gateway(generation);
    if !replica.unstable {
        return false;
    }
    let open = replica.control.generation <= generation || !config.rules.has(Rule::Fence);
    let wrote = replica.stamp.generation().0;
    if wrote == u32::from(generation) {
        return open && replica.stamp.sequence() <= u64::from(gateway.done);
    }
    let answered = |m: u8| state.replica(m).barriered & (1 << (generation - 1)) != 0;
    !config.rules.has(Rule::OwnWatermark)
        && wrote < u32::from(generation)
        && open
        && gateway.post == Post::Owner
        && answered(member)
        && gateway.control.live().iter().all(answered)
}

fn list_gateway(config: &Config, state: &State, generation: u8, out: &mut Vec<Action>) {
    let gateway = state.gateway(generation);
    if gateway.applied < state.log_length {
        out.push(Action::GatewayApplies(generation));
    }
    for member in 0..config.bounds.members {
        if right::answers_barrier(config, state, generation, member) {
            out.push(Action::Barrier(generation, member));
        }
        if right::reads(config, state, generation, member) {
            out.push(Action::Read(generation, member));
        }
    }
    if gateway.flight.is_some() {
        if right::is_acked(config, state, generation) {
            out.push(Action::Finish(generation));
        }
        return;
    }
    if right::is_serving(config, state, generation) {
        if state.writes < config.bounds.writes && right::may_write(config, gateway) {
            out.push(Action::Write(generation));
        }
    } else if gateway.dirty
        && right::may_reconcile(config, gateway)
        && right::is_barrier_done(config, state, generation)
    {
        list_reconcile(config, state, generation, out);
    }
}

// The stamps are read from the whole write set, each member answering in the gateway's view.
fn list_reconcile(config: &Config, state: &State, generation: u8, out: &mut Vec<Action>) {
    let control = &state.gateway(generation).control;
    let writers = control.write_set();
    if !writers.iter().all(|m| right::accepts(config, state, m, generation, control.view)) {
        return;
    }
    out.push(Action::Reconcile(generation));
    let first = writers.iter().next().map(|m| state.replica(m).stamp);
    if writers.iter().all(|m| Some(state.replica(m).stamp) == first) {
        out.push(Action::Settle(generation));
    }
}
