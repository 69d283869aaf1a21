//! Gates: from "not in sync" to "takes every change".
//!
//! ```text
//!  Lacking --cleaned--> Proposed --in the log--> Joined --everything is here--> Complete
//!  open_gates           take_gate                pass                           in the log: gone
//! ```
//! Holds:
//!   J1  before a group is joined, what its copy holds that may not be everywhere is taken back,
//!       and what cannot be read is dropped: what is left is what in-sync members have or had;
//!   J4  nothing is taken back as long as no in-sync member is alive: it may be all there is.

use std::collections::BTreeSet;

use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{PeerError, ReplyBody, Unstable};
use sheepdog_proto::{Oid, PgId, View};

use super::{Asked, Joiner, Local, PATIENCE};

/// Changes that are taken back at once.
const UNDO_MAX: usize = 256;

/// How far a group has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The own copy is not in sync.
    Lacking,
    /// The log was asked for `Joining`, so many ticks ago.
    Proposed(u32),
    /// Every change comes here since this view.
    Joined(View),
    /// The log was asked for `InSync`, so many ticks ago.
    Complete(View, u32),
}

/// Groups that are being cleaned.
#[derive(Debug)]
pub(super) struct Opening {
    groups: BTreeSet<PgId>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Asked what is unstable.
    Unstable,
    /// Taking the first chunk of these back.
    Undo(Vec<Vec<Unstable>>),
    /// Looking for objects that cannot be read.
    List(Vec<Oid>),
    Drop,
}

impl Joiner {
    /// Follows the state of all groups of this shard.
    pub(super) fn refresh_gates(&mut self) {
        let state = self.state.clone();
        let me = self.me.node;
        let lives = state.members.get(me).filter(|m| m.up && m.incarnation == self.me.incarnation);
        let Some(member) = lives else {
            self.gates.clear();
            return;
        };
        for (pg, group) in state.groups().filter(|(pg, _)| member.shard_of(*pg) == self.shard) {
            let before = self.gates.get(&pg).copied();
            let now = match (group.joined(me), before) {
                (Some(view), Some(Gate::Complete(of, _))) if of == view => before,
                (Some(view), _) => Some(Gate::Joined(view)),
                (None, Some(Gate::Proposed(_))) if group.lacks(me) => before,
                (None, _) if group.lacks(me) => Some(Gate::Lacking),
                (None, _) => None,
            };
            match now {
                Some(gate) => {
                    self.gates.insert(pg, gate);
                }
                None if self.gates.remove(&pg).is_some() => {
                    self.progress.groups_done += u64::from(group.in_sync.contains(&me));
                }
                None => {}
            }
        }
        let gates = &self.gates;
        self.floors
            .retain(|oid, _| state.group_of(*oid).is_some_and(|(pg, _)| gates.contains_key(&pg)));
    }

    /// Proposals that had no effect are made again.
    pub(super) fn tick_gates(&mut self) {
        for gate in self.gates.values_mut() {
            *gate = match *gate {
                Gate::Proposed(ticks) if ticks >= PATIENCE => Gate::Lacking,
                Gate::Proposed(ticks) => Gate::Proposed(ticks + 1),
                Gate::Complete(view, ticks) if ticks >= PATIENCE => Gate::Joined(view),
                Gate::Complete(view, ticks) => Gate::Complete(view, ticks + 1),
                other => other,
            };
        }
    }

    /// Begins to clean what is lacking.
    pub(super) fn open_gates(&mut self) {
        if self.opening.is_some() {
            return;
        }
        let state = &self.state;
        let may_open = |pg: &PgId| {
            !self.resting.contains_key(pg)
                && state.group(*pg).is_some_and(|group| group.has_live(&state.members)) // J4
        };
        let lacking = self.gates.iter().filter(|(_, gate)| **gate == Gate::Lacking);
        let groups: BTreeSet<PgId> = lacking.map(|(pg, _)| *pg).filter(may_open).collect();
        if !groups.is_empty() {
            self.opening = Some(Opening { groups, stage: Stage::Unstable });
            self.ask(Asked::Gate, Local::Unstable);
        }
    }

    /// The own store has answered a step of the cleaning.
    pub(super) fn take_gate(&mut self, result: Result<ReplyBody, PeerError>) {
        let Some(mut opening) = self.opening.take() else { return };
        opening.stage = match (opening.stage, result) {
            (Stage::Unstable, Ok(ReplyBody::Unstable(list))) => {
                let mut ours = list;
                ours.retain(|change| self.is_of(&opening.groups, change.oid));
                Stage::Undo(ours.chunks(UNDO_MAX).map(<[Unstable]>::to_vec).collect())
            }
            (Stage::Undo(mut chunks), Ok(_)) => {
                chunks.pop();
                Stage::Undo(chunks)
            }
            // Of what cannot be read nothing can be taken back.
            (Stage::Undo(mut chunks), Err(PeerError::Corrupt)) => {
                let oids = chunks.pop().unwrap_or_default().iter().map(|c| c.oid).collect();
                self.ask(Asked::Gate, Local::Drop(oids, View(u64::MAX)));
                chunks.push(Vec::new());
                self.opening = Some(Opening { stage: Stage::Undo(chunks), ..opening });
                return;
            }
            (Stage::List(mut rotten), Ok(ReplyBody::Listing(listing))) => {
                let bad = listing.objects.iter().filter(|object| object.is_rotten);
                rotten.extend(bad.map(|o| o.oid).filter(|oid| self.is_of(&opening.groups, *oid)));
                match listing.next {
                    Some(next) => {
                        self.ask(Asked::Gate, Local::List(Some(next)));
                        self.opening = Some(Opening { stage: Stage::List(rotten), ..opening });
                        return;
                    }
                    None => {
                        let noted = std::mem::take(&mut self.rotten);
                        let (ours, others) =
                            noted.into_iter().partition(|o| self.is_of(&opening.groups, *o));
                        let ours: BTreeSet<Oid> = ours;
                        self.rotten = others;
                        rotten.extend(ours);
                        self.ask(Asked::Gate, Local::Drop(rotten, View(u64::MAX)));
                        Stage::Drop
                    }
                }
            }
            (Stage::Drop, Ok(_)) => {
                self.propose_joining(&opening.groups);
                return;
            }
            _ => {
                let groups = opening.groups.iter().map(|pg| (*pg, PATIENCE));
                self.resting.extend(groups);
                return;
            }
        };
        if let Stage::Undo(chunks) = &opening.stage {
            match chunks.last() {
                Some(chunk) => self.ask(Asked::Gate, Local::Undo(chunk.clone())), // J1
                None => {
                    opening.stage = Stage::List(Vec::new());
                    self.ask(Asked::Gate, Local::List(None));
                }
            }
        }
        self.opening = Some(opening);
    }

    fn is_of(&self, groups: &BTreeSet<PgId>, oid: Oid) -> bool {
        self.state.group_of(oid).is_some_and(|(pg, _)| groups.contains(&pg))
    }

    fn propose_joining(&mut self, groups: &BTreeSet<PgId>) {
        let lacking = |pg: &&PgId| self.gates.get(pg) == Some(&Gate::Lacking);
        let groups: Vec<PgId> = groups.iter().filter(lacking).copied().collect();
        if groups.is_empty() {
            return;
        }
        self.gates.extend(groups.iter().map(|pg| (*pg, Gate::Proposed(0))));
        let (node, incarnation) = (self.me.node, self.me.incarnation);
        self.propose(Command::Joining { node, incarnation, groups });
    }

    /// An object of a group that is being joined cannot be read here: the group is left, so that
    /// the object can be dropped without losing a change, and joined anew.
    pub(super) fn leave_rotten(&mut self, oid: Oid) {
        let (node, incarnation) = (self.me.node, self.me.incarnation);
        if let Some(pg) = self.joined_group(oid) {
            self.propose(Command::Demote { node, incarnation, groups: vec![pg] });
        }
        self.abort_pass();
    }

    pub(super) fn propose(&mut self, command: Command) {
        self.actions.push(super::Action::Propose(command));
    }
}
