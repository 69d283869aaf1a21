//! Passes: the objects of many groups, listed by one in-sync member and sifted.
//!
//! Way: a part of the member's list -> the same part of the own list -> `sift` -> objects that must
//!      be looked at (`object`), objects that go; then the next part.
//! Holds:
//!   P1  accepted unread is only an object that was changed under no view of which this copy may
//!       lack changes, whose base and modified view are the same here, and of which nothing is
//!       unstable there;
//!   P2  an object that the member does not list goes, unless a client made it since the group was
//!       joined;
//!   P3  resets that are unstable there are unstable here;
//!   P4  nothing is written any more for a group that is not joined any more: its copies may have
//!       been dropped meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{Listed, Listing, RequestBody, UnstableKind};
use sheepdog_proto::{Incarnation, Oid, Partition, PgId, PolicyId, View};

use super::gate::Gate;
use super::object::Object;
use super::{Asked, Joiner, Local, PATIENCE, Purpose};
use crate::gateway::Place;

/// Groups of one pass: listing goes over all objects for each pass.
const GROUPS_MAX: usize = 256;
/// Objects under way at once.
const OBJECTS_MAX: usize = 8;
/// The next part of the list is asked for when fewer objects than this wait.
const QUEUE_MIN: usize = 64;

/// One pass.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) source: Place,
    life: Incarnation,
    policy: PolicyId,
    /// The source must have applied the log so far (JOIN-GATE).
    pub(super) index: u64,
    groups: BTreeMap<Partition, View>,
    unstable: BTreeSet<Oid>,
    listing: Stage,
    /// Steps that the own store has not answered.
    steps: usize,
    queue: VecDeque<Listed>,
    pub(super) objects: BTreeMap<Oid, Object>,
    /// Groups with objects that the source cannot read.
    pub(super) failed: BTreeSet<PgId>,
}

#[derive(Debug)]
enum Stage {
    /// The next part begins above this object.
    Due(Option<Oid>),
    Asked(Option<Oid>),
    /// The member's part, and what of the own list is known of it.
    Local {
        theirs: Listing,
        ours: BTreeMap<Oid, Listed>,
    },
    End,
}

impl Joiner {
    /// Chooses groups and a member that has them; those with the fewest copies first.
    pub(super) fn start_pass(&mut self) {
        if self.pass.is_some() {
            return;
        }
        let mut candidates: Vec<(usize, PgId, View, Place)> = Vec::new();
        for (pg, gate) in &self.gates {
            if let Gate::Joined(view) = gate
                && !self.resting.contains_key(pg)
                && let Some((live, source)) = self.source_for(*pg)
            {
                candidates.push((live, *pg, *view, source));
            }
        }
        candidates.sort_unstable_by_key(|(live, pg, ..)| (*live, *pg));
        let Some((_, first, _, source)) = candidates.first().copied() else { return };
        let Some(life) = self.state.members.get(source.node).map(|m| m.incarnation) else { return };
        let same = |(_, pg, _, place): &&(usize, PgId, View, Place)| {
            pg.policy == first.policy && *place == source
        };
        let chosen = candidates.iter().filter(same).take(GROUPS_MAX);
        let groups: BTreeMap<Partition, View> =
            chosen.map(|(_, pg, view, _)| (pg.partition, *view)).collect();
        let index = groups.values().map(|view| view.0).max().unwrap_or_default();
        self.pass = Some(Pass {
            source,
            life,
            policy: first.policy,
            index,
            groups,
            unstable: BTreeSet::new(),
            listing: Stage::Due(None),
            steps: 0,
            queue: VecDeque::new(),
            objects: BTreeMap::new(),
            failed: BTreeSet::new(),
        });
    }

    /// How many in-sync members live, and the one to ask.
    fn source_for(&self, pg: PgId) -> Option<(usize, Place)> {
        let group = self.state.group(pg)?;
        let live: Vec<Place> = self.state.live(group).map(|m| Place::of(m, pg)).collect();
        let at = (usize::from(pg.partition.0) + self.attempt).checked_rem(live.len())?;
        Some((live.len(), live[at]))
    }

    /// After a state change: groups that are not joined any more leave, and a source that is of no
    /// use any more ends the pass. Nothing that was fetched is fetched again by the next one.
    pub(super) fn refresh_pass(&mut self) {
        let Some(pass) = &mut self.pass else { return };
        let (gates, policy, state) = (&self.gates, pass.policy, &self.state);
        let is_joined = |pg: PgId, view: View| gates.get(&pg) == Some(&Gate::Joined(view));
        pass.groups
            .retain(|partition, view| is_joined(PgId { policy, partition: *partition }, *view));
        let groups = &pass.groups;
        // P4
        pass.objects.retain(|oid, _| {
            state.group_of(*oid).is_some_and(|(pg, _)| groups.contains_key(&pg.partition))
        });
        let member = self.state.members.get(pass.source.node);
        let lives = member.is_some_and(|m| m.up && m.incarnation == pass.life);
        let serves = pass.groups.keys().all(|partition| {
            let group = self.state.group(PgId { policy, partition: *partition });
            group.is_some_and(|group| group.in_sync.contains(&pass.source.node))
        });
        if pass.groups.is_empty() || !lives || !serves {
            self.abort_pass();
        }
    }

    /// What was asked for comes to nothing; the groups are tried again later.
    pub(super) fn abort_pass(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        self.sent.clear();
        self.asked.retain(|_, asked| matches!(asked, Asked::Gate));
        self.refused.clear();
        self.attempt += 1;
        let policy = pass.policy;
        let groups = pass.groups.into_keys().map(|partition| PgId { policy, partition });
        self.resting.extend(groups.map(|pg| (pg, 2)));
    }

    pub(super) fn pump_pass(&mut self) {
        let Some(pass) = &mut self.pass else { return };
        if let Stage::Due(after) = pass.listing
            && pass.queue.len() < QUEUE_MIN
        {
            pass.listing = Stage::Asked(after);
            let (index, policy, source) = (pass.index, pass.policy, pass.source);
            let partitions = pass.groups.keys().copied().collect();
            let body = RequestBody::List { index, policy, after, partitions };
            self.send(source, Purpose::List, body);
        }
        self.pump_objects();
        self.finish_pass();
    }

    fn pump_objects(&mut self) {
        while let Some(pass) = &mut self.pass
            && pass.objects.len() < OBJECTS_MAX
            && let Some(listed) = pass.queue.pop_front()
        {
            if self.joined_group(listed.oid).is_some() {
                self.start_object(listed);
            }
        }
        let Some(pass) = &self.pass else { return };
        let oids: Vec<Oid> = pass.objects.keys().copied().collect();
        for oid in oids {
            self.pump_object(oid);
        }
    }

    /// The member's part of the list.
    pub(super) fn take_listing(&mut self, listing: Listing) {
        let Some(Pass { listing: Stage::Asked(after), .. }) = self.pass else { return };
        let resets = listing.unstable.iter().filter(|c| c.kind == UnstableKind::Reset);
        let joined = resets.filter(|change| self.joined_group(change.oid).is_some()); // P4
        let resets: Vec<Local> = joined
            .map(|change| Local::Change {
                body: RequestBody::Reset { oid: change.oid, stamp: change.stamp },
                is_settled: false, // P3
            })
            .collect();
        let Some(pass) = &mut self.pass else { return };
        pass.unstable.extend(listing.unstable.iter().map(|change| change.oid));
        pass.listing = Stage::Local { theirs: listing, ours: BTreeMap::new() };
        resets.into_iter().for_each(|reset| self.step(reset));
        self.ask(Asked::List, Local::List(after));
    }

    pub(super) fn step(&mut self, local: Local) {
        if let Some(pass) = &mut self.pass {
            pass.steps += 1;
            self.ask(Asked::Step(local.clone()), local);
        }
    }

    pub(super) const fn end_step(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.steps -= 1;
        }
    }

    /// A part of the own list; more of it is asked for until it covers the member's part.
    pub(super) fn take_local_list(&mut self, listing: Listing) {
        let Some(pass) = &mut self.pass else { return };
        let Stage::Local { theirs, ours } = &mut pass.listing else { return };
        let end = theirs.next;
        let is_in = |object: &Listed| end.is_none_or(|end| object.oid <= end);
        ours.extend(listing.objects.into_iter().filter(is_in).map(|object| (object.oid, object)));
        match listing.next {
            Some(next) if end.is_none_or(|end| next < end) => {
                self.ask(Asked::List, Local::List(Some(next)));
            }
            _ => {
                let stage = std::mem::replace(&mut pass.listing, Stage::Due(end));
                if end.is_none() {
                    pass.listing = Stage::End;
                }
                if let Stage::Local { theirs, ours } = stage {
                    self.sift(theirs, ours);
                }
            }
        }
    }

    fn sift(&mut self, theirs: Listing, mut ours: BTreeMap<Oid, Listed>) {
        for object in theirs.objects {
            let mine = ours.remove(&object.oid);
            let Some(pg) = self.joined_group(object.oid) else { continue };
            if mine.is_some_and(|mine| mine.is_rotten) {
                return self.leave_rotten(object.oid);
            }
            if mine.is_some_and(|mine| self.is_unchanged(pg, &object, &mine)) {
                self.progress.accepted += 1; // P1
            } else if let Some(pass) = &mut self.pass {
                if object.is_rotten {
                    pass.failed.insert(pg);
                } else {
                    pass.queue.push_back(object);
                }
            }
        }
        let mut gone: BTreeMap<View, Vec<Oid>> = BTreeMap::new();
        for oid in ours.into_keys() {
            if let Some(view) = self.view_of(oid) {
                gone.entry(view).or_default().push(oid);
            }
        }
        for (joined, oids) in gone {
            self.progress.dropped += oids.len() as u64;
            self.step(Local::Drop(oids, joined)); // P2
        }
    }

    /// P1.
    fn is_unchanged(&self, pg: PgId, theirs: &Listed, mine: &Listed) -> bool {
        let group = self.state.group(pg);
        let complete = group.map_or(View(0), |group| group.complete_before(self.me.node));
        let is_unstable = self.pass.as_ref().is_none_or(|p| p.unstable.contains(&theirs.oid));
        theirs == mine && !theirs.is_rotten && theirs.modified < complete && !is_unstable
    }

    /// The view with which the group of an object was joined, if this pass is about it.
    fn view_of(&self, oid: Oid) -> Option<View> {
        let pg = self.joined_group(oid)?;
        let pass = self.pass.as_ref().filter(|pass| pass.policy == pg.policy)?;
        pass.groups.get(&pg.partition).copied()
    }

    fn finish_pass(&mut self) {
        let Some(pass) = &self.pass else { return };
        let is_done = matches!(pass.listing, Stage::End)
            && pass.queue.is_empty()
            && pass.objects.is_empty()
            && pass.steps == 0;
        if !is_done {
            return;
        }
        let Some(pass) = self.pass.take() else { return };
        let policy = pass.policy;
        let groups = pass.groups.into_iter();
        let groups = groups.map(|(partition, view)| (PgId { policy, partition }, view));
        let (failed, groups): (Vec<_>, Vec<_>) =
            groups.partition(|(pg, _)| pass.failed.contains(pg));
        if !failed.is_empty() {
            self.attempt += 1;
            self.resting.extend(failed.into_iter().map(|(pg, _)| (pg, PATIENCE)));
        }
        if !groups.is_empty() {
            self.gates.extend(groups.iter().map(|(pg, view)| (*pg, Gate::Complete(*view, 0))));
            let (node, incarnation) = (self.me.node, self.me.incarnation);
            self.propose(Command::InSync { node, incarnation, groups });
        }
    }
}
