//! A fuse: the process dies, or all power goes, so many actions after something worth it.
//!
//! Why: what is done in two steps goes wrong between them, and a death at any moment hardly ever
//!      meets the few microseconds that matter.

use sheepdog_engine::gateway::{Action, Place};
use sheepdog_engine::join;
use sheepdog_proto::ObjectKind;
use sheepdog_proto::peer::RequestBody;

use super::random::Random;
use super::world::World;

/// What sets a fuse on fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spark {
    Anything,
    /// A page of the map is written.
    Map,
    Reset,
    Settle,
    Barrier,
    /// The log is asked for something.
    Proposal,
}

/// What a component of a shard is about to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed<'a> {
    Send(&'a RequestBody),
    Propose,
    Other,
}

impl<'a> From<&'a Action> for Deed<'a> {
    fn from(action: &'a Action) -> Self {
        match action {
            Action::Send(_, request) => Self::Send(&request.body),
            Action::Propose(_) => Self::Propose,
            _ => Self::Other,
        }
    }
}

impl<'a> From<&'a join::Action> for Deed<'a> {
    fn from(action: &'a join::Action) -> Self {
        match action {
            join::Action::Send(_, request) => Self::Send(&request.body),
            join::Action::Local(_, join::Local::Change { body, .. }) => Self::Send(body),
            join::Action::Local(..) => Self::Other,
            join::Action::Propose(_) => Self::Propose,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Fuse {
    /// `None` once it burns.
    spark: Option<Spark>,
    /// Actions until the end.
    left: u64,
    cuts_all_power: bool,
}

impl Fuse {
    pub(super) fn new(random: &mut Random) -> Self {
        let sparks = [
            Spark::Anything,
            Spark::Map,
            Spark::Map,
            Spark::Reset,
            Spark::Settle,
            Spark::Barrier,
            Spark::Proposal,
        ];
        Self {
            spark: Some(random.pick(&sparks)),
            left: random.below(12),
            cuts_all_power: random.chance(300),
        }
    }

    /// True if this action is not done any more.
    fn ends_before<'a>(&mut self, deed: impl Into<Deed<'a>>) -> bool {
        let deed = deed.into();
        if self.spark.is_some_and(|spark| !spark.catches(deed)) {
            return false;
        }
        self.spark = None;
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }
}

impl Spark {
    fn catches(self, deed: Deed<'_>) -> bool {
        let body = match deed {
            Deed::Send(body) => Some(body),
            Deed::Propose | Deed::Other => None,
        };
        match self {
            Self::Anything => true,
            Self::Proposal => matches!(deed, Deed::Propose),
            Self::Map => matches!(
                body,
                Some(RequestBody::Write { oid, .. }) if oid.kind() == ObjectKind::Map
            ),
            Self::Reset => matches!(body, Some(RequestBody::Reset { .. })),
            Self::Settle => matches!(body, Some(RequestBody::Settle { .. })),
            Self::Barrier => matches!(body, Some(RequestBody::Barrier { .. })),
        }
    }
}

impl World {
    /// The process has ended before this action.
    pub(super) fn burns_down<'a>(&mut self, place: Place, deed: impl Into<Deed<'a>>) -> bool {
        let sheep = usize::from(place.node.0);
        let Some(life) = self.sheep[sheep].life.as_mut() else { return true };
        let Some(fuse) = &mut life.fuse else { return false };
        if !fuse.ends_before(deed) {
            return false;
        }
        if fuse.cuts_all_power {
            self.trace.count("fault: all power cut between two actions");
            (0..self.sheep.len()).for_each(|sheep| self.cut_power(sheep));
        } else {
            self.trace.count("fault: killed between two actions");
            self.kill(sheep, "between two actions");
        }
        true
    }
}

#[cfg(test)]
#[path = "fuse/tests.rs"]
mod tests;
