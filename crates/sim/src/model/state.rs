//! State: everything that can differ between two moments of a run.
//!
//! Why: the fewer ways there are to write down the same situation, the farther the checker sees.
//! Way: the network is not kept. A request that was sent may arrive at any later time, so the
//!      sender's record of it is enough; an answer counts when its receiver acts on it.
//! Not here: what may be forgotten (state/canonical.rs), the code of a state (state/code.rs).

mod canonical;
mod code;

use sheepdog_proto::Stamp;

use super::config::{ATTACHMENTS_MAX, Config, MEMBERS_MAX};
use super::control::{Control, Entry};
use super::register::Register;

/// Most entries of the log; reached by no bound that finishes.
pub const LOG_MAX: usize = 16;

/// A member of the placement group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It works; the others may already think otherwise.
    Up,
    /// It knows that it is taken for dead: it waits for its next life.
    #[default]
    Down,
    /// It knows that `Act` removed it, for good.
    Out,
}

/// One member's copy of the block, and what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    /// Whether it works.
    pub phase: Phase,
    /// Control state after the entries it has applied.
    pub control: Control,
    /// How many entries it has applied.
    pub applied: u8,
    /// Stamp of its copy.
    pub stamp: Stamp,
    /// Which client write its copy holds.
    pub write: u8,
    /// Whether the block is in its unstable list.
    pub unstable: bool,
    /// View in which its copy last changed, as it noted it; kept only with pull by difference.
    pub modified: u8,
    /// Joiner only: whether the block was pulled or written since it joined.
    pub present: bool,
    /// Joiner only: index of its `Join`.
    pub joined: u8,
    /// Generations whose write in flight it acknowledged, in the view of that gateway.
    pub acked: u8,
    /// Generations whose barrier it answered.
    pub barriered: u8,
}

/// A write that its gateway has not yet finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Client write whose value it carries.
    pub write: u8,
    /// Its stamp, the same at every re-send.
    pub stamp: Stamp,
    /// Written by reconcile, not by a client.
    pub reconcile: bool,
    /// By member: the views under which it was sent there, as a set of numbers.
    pub sent: [u16; MEMBERS_MAX as usize],
}

/// Life of a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Post {
    /// Not attached yet.
    #[default]
    Future,
    /// It thinks that it is the owner.
    Owner,
    /// It knows that it is not.
    Former,
}

/// The gateway of one attachment. It may be as slow as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Whether it acts.
    pub post: Post,
    /// Control state after the entries it has applied.
    pub control: Control,
    /// How many entries it has applied.
    pub applied: u8,
    /// Sequence number of its last finished write: its watermark S.
    pub done: u8,
    /// Whether an answer to its barrier listed the block, and it is not settled yet.
    pub dirty: bool,
    /// Write in flight: the range lock lets no second one start.
    pub flight: Option<Flight>,
}

/// A promise that a read broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A read missed an acknowledged write.
    LostWrite,
    /// A read returned the older of two values after the newer one had been read.
    OlderAfterNewer,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Control state at the end of the log.
    pub tail: Control,
    /// Entries that somebody has yet to apply; entry n is at n - 1.
    pub log: [Entry; LOG_MAX],
    /// Length of the log.
    pub log_length: u8,
    /// `Down` entries so far.
    pub downs: u8,
    /// Client writes so far.
    pub writes: u8,
    /// Client writes that were acknowledged, as a set of numbers.
    pub finished: u8,
    /// Members.
    pub replicas: [Replica; MEMBERS_MAX as usize],
    /// Gateways; generation n is at n - 1.
    pub gateways: [Gateway; ATTACHMENTS_MAX as usize],
    /// What clients saw.
    pub seen: Register,
    /// What clients saw if nobody had read.
    pub unread: Register,
    /// Whether a member accepted a write of an older generation after a newer barrier.
    pub unfenced: bool,
    /// Set at the first read that breaks a promise; the run ends there.
    pub fault: Option<Fault>,
}

impl State {
    /// Everybody in sync and up, the first gateway attached, nothing written.
    #[must_use]
    pub fn first(config: &Config) -> Self {
        let control = Control::new(config.bounds.members);
        let mut state = Self {
            tail: control,
            log: [Entry::None; LOG_MAX],
            log_length: 0,
            downs: 0,
            writes: 0,
            finished: 0,
            replicas: Default::default(),
            gateways: Default::default(),
            seen: Register::default(),
            unread: Register::default(),
            unfenced: false,
            fault: None,
        };
        for (member, replica) in state.replicas.iter_mut().enumerate() {
            if control.insync.has(member as u8) {
                replica.phase = Phase::Up;
                replica.control = control;
                replica.barriered = 1;
            } else {
                replica.phase = Phase::Out;
            }
        }
        state.gateways[0].post = Post::Owner;
        state.gateways[0].control = control;
        state
    }

    /// A member.
    #[must_use]
    pub const fn replica(&self, member: u8) -> &Replica {
        &self.replicas[member as usize]
    }

    /// The gateway of `generation` (1 and up).
    #[must_use]
    pub const fn gateway(&self, generation: u8) -> &Gateway {
        &self.gateways[generation as usize - 1]
    }

    pub(super) fn replica_mut(&mut self, member: u8) -> &mut Replica {
        &mut self.replicas[member as usize]
    }

    pub(super) fn gateway_mut(&mut self, generation: u8) -> &mut Gateway {
        &mut self.gateways[generation as usize - 1]
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
