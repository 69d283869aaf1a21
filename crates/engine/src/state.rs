//! The cluster state: one deterministic machine, fed by the coordination log.
//!
//! Way: `sheep` decodes each log entry and calls [`ClusterState::apply`]; shards get the new
//!      state behind an `Arc`. The parts are `Arc`s too, so an entry copies only what it changes.
//! Holds:
//!   LOG-ORDER   the state is a function of a prefix of the log, nothing else;
//!   ONE-WRITER  at every index at most one (owner, generation) per vid, generations only rise;
//!   ACTIVATE    a lost member leaves an in-sync set only through `Act` of its current view, a
//!               living one only through its own `Demote`;
//!   STICKY      an in-sync set is never empty;
//!   SETTLE      whoever is in sync stays so until all who shall be are (`target`);
//!   JOIN        a member enters an in-sync set only through its own `Joining` and then `InSync`,
//!               in one life, and takes every change between the two.
//! Not here: who appends what and when (gateway, sheep).

mod catalogue;
mod group;
mod member;
mod silence;
mod target;

use std::sync::Arc;

use sheepdog_proto::command::{Command, Copies};
use sheepdog_proto::{Generation, Incarnation, LogIndex, NodeId, Oid, PgId, PolicyId, Vid, View};

pub use catalogue::{Attachment, Catalogue, SIZE_OBJECTS_MAX, Vdi};
pub use group::{Group, Policy, copies_min};
pub use member::{Member, Members};

/// Object sizes that can be chosen: 2^20 to 2^26 bytes.
pub const OBJECT_SHIFTS: std::ops::RangeInclusive<u8> = 20..=26;
/// Numbers of partitions that can be chosen: 2^0 to 2^14.
pub const PARTITION_BITS_MAX: u8 = 14;
/// Most copies a class can ask for.
pub const COPIES_MAX: u8 = 8;

/// What `Format` decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Random id of the cluster.
    pub cluster: u128,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// 2^this partitions per class.
    pub partition_bits: u8,
    /// Default object size.
    pub object_shift: u8,
    /// Default class.
    pub policy: PolicyId,
}

/// Everything the cluster agrees on.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    /// The last entry applied.
    pub index: LogIndex,
    /// `None` until the cluster is formatted.
    pub format: Option<Arc<Format>>,
    /// Every sheep that ever joined.
    pub members: Arc<Members>,
    /// Redundancy classes in use, by their number.
    pub policies: Arc<Vec<Policy>>,
    /// VDIs and who writes them.
    pub catalogue: Arc<Catalogue>,
    /// The cluster was told to stop; cleared by the next join.
    pub stopping: bool,
}

/// What an applied command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; nothing to tell.
    Done,
    /// The command spoke of a past state and did nothing.
    Void,
    /// A member joined.
    Joined(NodeId, Incarnation),
    /// A VDI was made.
    Created(Vid),
    /// A VDI has a new owner.
    Attached(Generation),
}

/// Why a command was refused. Every sheep comes to the same refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The cluster already has a format.
    AlreadyFormatted,
    /// The cluster has none yet.
    NotFormatted,
    /// A field is out of its range.
    Invalid(&'static str),
    /// Fewer zones are up than copies asked for.
    TooFewZones {
        /// Zones with a storing sheep that is up.
        zones: usize,
        /// Copies asked for.
        copies: u8,
    },
    /// A working VDI has this name.
    NameTaken(Vid),
    /// No such VDI.
    NoVdi,
    /// The VDI is attached.
    Locked(Attachment),
    /// All vids are used.
    NoVid,
    /// A VDI cannot become smaller.
    Shrink,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AlreadyFormatted => f.write_str("the cluster is already formatted"),
            Self::NotFormatted => {
                f.write_str("the cluster is not formatted; run `dog cluster format`")
            }
            Self::Invalid(what) => write!(f, "invalid {what}"),
            Self::TooFewZones { zones, copies } => {
                write!(f, "{copies} copies need {copies} zones, but only {zones} are up")
            }
            Self::NameTaken(_) => f.write_str("a VDI of this name exists"),
            Self::NoVdi => f.write_str("no such VDI"),
            Self::Locked(attachment) => {
                write!(f, "the VDI is in use through node {}", attachment.node)
            }
            Self::NoVid => f.write_str("all VDI ids are used"),
            Self::Shrink => f.write_str("a VDI cannot be made smaller"),
        }
    }
}

impl std::error::Error for Refused {}

impl ClusterState {
    /// Applies entry `index`.
    ///
    /// # Errors
    /// [`Refused`]; the state is then as before, but for `index`.
    ///
    /// # Panics
    /// If `index` is not the next one: the order of the log would be broken (LOG-ORDER).
    pub fn apply(&mut self, index: LogIndex, command: &Command) -> Result<Outcome, Refused> {
        assert_eq!(index.0, self.index.0 + 1, "log entries are applied in order");
        self.index = index;
        match command {
            Command::Format { cluster, time_ns, partition_bits, object_shift, copies } => {
                let format = Format {
                    cluster: *cluster,
                    time_ns: *time_ns,
                    partition_bits: *partition_bits,
                    object_shift: *object_shift,
                    policy: PolicyId(0),
                };
                self.apply_format(format, *copies)
            }
            Command::Join { .. } => Ok(self.apply_join(command)),
            Command::Gone { node, incarnation } => Ok(self.apply_gone(*node, *incarnation)),
            Command::Act { groups } => Ok(self.apply_act(groups)),
            Command::Attach { vid, node, incarnation, time_ns } => {
                self.apply_attach(*vid, *node, *incarnation, *time_ns)
            }
            Command::Detach { vid, generation } => {
                Ok(Arc::make_mut(&mut self.catalogue).detach(*vid, *generation))
            }
            Command::CreateVdi { .. } => self.apply_create(command),
            Command::DeleteVdi { vid } => {
                Arc::make_mut(&mut self.catalogue).delete(*vid).map(|()| Outcome::Done)
            }
            Command::ResizeVdi { vid, size } => {
                Arc::make_mut(&mut self.catalogue).resize(*vid, *size).map(|()| Outcome::Done)
            }
            Command::Ended { uuid } => Ok(self.apply_ended(*uuid)),
            Command::Demote { node, incarnation, groups } => {
                let may = |group: &Group, _: &Members| group.can_demote(*node);
                Ok(self.apply_demote(*node, *incarnation, groups, may))
            }
            Command::Rest { node, incarnation, groups } => {
                let may = |group: &Group, members: &Members| group.can_rest(*node, members);
                Ok(self.apply_demote(*node, *incarnation, groups, may))
            }
            Command::Joining { node, incarnation, groups } => {
                Ok(self.apply_joining(*node, *incarnation, groups))
            }
            Command::InSync { node, incarnation, groups } => {
                Ok(self.apply_in_sync(*node, *incarnation, groups))
            }
            Command::Silent { node, incarnation, other, other_incarnation, is_silent } => {
                let (by, about) = ((*node, *incarnation), (*other, *other_incarnation));
                Ok(self.apply_silent(by, about, *is_silent))
            }
            Command::Out { node, incarnation } => Ok(self.apply_out(*node, *incarnation)),
            Command::Shutdown { .. } => {
                self.stopping = true;
                Ok(Outcome::Done)
            }
        }
    }

    /// The group that keeps `oid`, if its VDI is known.
    #[must_use]
    pub fn group_of(&self, oid: Oid) -> Option<(PgId, &Group)> {
        let vdi = self.catalogue.get(oid.vid())?;
        let partition = oid.partition(self.format.as_ref()?.partition_bits);
        let pg = PgId { policy: vdi.policy, partition };
        Some((pg, self.group(pg)?))
    }

    /// One group.
    #[must_use]
    pub fn group(&self, pg: PgId) -> Option<&Group> {
        self.policies.get(usize::from(pg.policy.0))?.groups.get(usize::from(pg.partition.0))
    }

    /// All groups of all classes.
    pub fn groups(&self) -> impl Iterator<Item = (PgId, &Group)> {
        let classes = (0..).map(PolicyId).zip(self.policies.iter());
        classes.flat_map(|(policy, class)| {
            let partitions = (0..).map(sheepdog_proto::Partition).zip(class.groups.iter());
            partitions.map(move |(partition, group)| (PgId { policy, partition }, group))
        })
    }

    /// Members of `group` that are in sync and not lost, with their shard count.
    pub fn live<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Member> + 'a {
        group.in_sync.iter().filter_map(|node| self.members.get(*node)).filter(|m| m.up)
    }

    /// Members that join `group`: they take every change and serve nothing.
    pub fn joiners<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Member> + 'a {
        group.joiners.iter().filter_map(|(node, _)| self.members.get(*node))
    }

    fn apply_format(&mut self, format: Format, copies: Copies) -> Result<Outcome, Refused> {
        if self.format.is_some() {
            return Err(Refused::AlreadyFormatted);
        }
        if format.partition_bits > PARTITION_BITS_MAX {
            return Err(Refused::Invalid("number of partitions"));
        }
        if !OBJECT_SHIFTS.contains(&format.object_shift) {
            return Err(Refused::Invalid("object size (1 MiB to 64 MiB)"));
        }
        let view = View(self.index.0);
        let down = self.members.iter().filter(|member| !member.up).map(|member| member.node);
        let down: Vec<NodeId> = down.collect();
        let members = Arc::make_mut(&mut self.members);
        down.into_iter().for_each(|node| members.set_out(node));
        let candidates = self.candidates();
        let bits = format.partition_bits;
        let policy = Policy::place(copies, &candidates, &self.members, bits, view)?;
        Arc::make_mut(&mut self.policies).push(policy);
        self.format = Some(Arc::new(format));
        Ok(Outcome::Done)
    }

    fn apply_join(&mut self, command: &Command) -> Outcome {
        let incarnation = Incarnation(self.index.0);
        self.stopping = false;
        let ring = self.candidates();
        let members = Arc::make_mut(&mut self.members);
        let (node, before) = members.join(command, incarnation);
        if let Some(before) = before {
            // A life that never said good-bye: what it owned is free, as by `Gone`.
            Arc::make_mut(&mut self.catalogue).free_attachments(node, before);
        }
        // INCARNATION: a restart is a new view in every group that it is still in sync with.
        self.touch_groups(node);
        self.retarget(&ring);
        self.settle();
        Outcome::Joined(node, incarnation)
    }

    fn apply_ended(&mut self, uuid: u128) -> Outcome {
        match self.members.find(uuid).map(|member| (member.node, member.incarnation)) {
            Some((node, incarnation)) => self.apply_gone(node, incarnation),
            None => Outcome::Void,
        }
    }

    fn apply_gone(&mut self, node: NodeId, incarnation: Incarnation) -> Outcome {
        let goes_on = |m: &Member| m.incarnation == incarnation && (m.up || m.is_expelled);
        if !self.members.get(node).is_some_and(goes_on) {
            return Outcome::Void;
        }
        Arc::make_mut(&mut self.members).gone(node);
        Arc::make_mut(&mut self.catalogue).free_attachments(node, incarnation);
        self.touch_groups(node);
        Outcome::Done
    }

    /// A life of `node` has begun or ended: every group whose changes it took has another view,
    /// and what it had not joined completely it must join anew.
    fn touch_groups(&mut self, node: NodeId) {
        let view = View(self.index.0);
        let takes = |group: &Group| group.takes(node);
        for policy in Arc::make_mut(&mut self.policies) {
            if policy.groups.iter().any(takes) {
                for group in Arc::make_mut(&mut policy.groups).iter_mut().filter(|g| takes(g)) {
                    group.end_joining(node);
                    group.view = view;
                }
            }
        }
    }

    fn apply_act(&mut self, wanted: &[(PgId, View)]) -> Outcome {
        let view = View(self.index.0);
        let members = self.members.clone();
        let mut outcome = Outcome::Void;
        for (pg, seen) in wanted {
            let valid = self
                .group(*pg)
                .is_some_and(|g| g.view == *seen && g.has_lost(&members) && g.has_live(&members));
            if !valid {
                continue;
            }
            let group = self.group_mut(*pg);
            let is_lost = |node: &NodeId| members.get(*node).is_none_or(|m| !m.up);
            let lost: Vec<NodeId> = group.in_sync.iter().copied().filter(is_lost).collect();
            // Between the loss and now nothing was sent: views before this one have all of it.
            lost.into_iter().for_each(|node| group.take_out(node, view));
            group.view = view;
            outcome = Outcome::Done;
        }
        outcome
    }

    /// The member's copies of these groups are not complete any more. Of the last in-sync member
    /// nothing is taken: what it has, or what its disk has when it comes back, is all there is.
    fn apply_demote(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        groups: &[PgId],
        may: impl Fn(&Group, &Members) -> bool,
    ) -> Outcome {
        let view = View(self.index.0);
        if !self.is_current(node, incarnation) {
            return Outcome::Void;
        }
        let mut outcome = Outcome::Void;
        for pg in groups {
            if !self.group(*pg).is_some_and(|group| may(group, &self.members)) {
                continue;
            }
            let group = self.group_mut(*pg);
            group.take_out(node, View(0)); // What it still has is for it to compare.
            group.view = view;
            outcome = Outcome::Done;
        }
        outcome
    }

    /// From the new view on the member is in the write set.
    fn apply_joining(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        groups: &[PgId],
    ) -> Outcome {
        let view = View(self.index.0);
        if !self.is_current(node, incarnation) {
            return Outcome::Void;
        }
        let mut outcome = Outcome::Void;
        for pg in groups {
            if self.group(*pg).is_some_and(|group| group.lacks(node)) {
                let group = self.group_mut(*pg);
                group.joiners.push((node, view));
                group.view = view;
                outcome = Outcome::Done;
            }
        }
        outcome
    }

    /// The joiner has everything that was acknowledged: it has taken every change since `joined`,
    /// and fetched what was there before.
    fn apply_in_sync(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        groups: &[(PgId, View)],
    ) -> Outcome {
        let view = View(self.index.0);
        if !self.is_current(node, incarnation) {
            return Outcome::Void;
        }
        let mut outcome = Outcome::Void;
        for (pg, joined) in groups {
            if self.group(*pg).and_then(|group| group.joined(node)) != Some(*joined) {
                continue;
            }
            let group = self.group_mut(*pg);
            group.take_in(node);
            group.view = view;
            outcome = Outcome::Done;
        }
        self.settle();
        outcome
    }

    /// Of a group that exists.
    fn group_mut(&mut self, pg: PgId) -> &mut Group {
        let policies = Arc::make_mut(&mut self.policies);
        let groups = Arc::make_mut(&mut policies[usize::from(pg.policy.0)].groups);
        &mut groups[usize::from(pg.partition.0)]
    }

    /// Whether this life of a member goes on.
    fn is_current(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.members.get(node).is_some_and(|m| m.up && m.incarnation == incarnation)
    }

    fn apply_attach(
        &mut self,
        vid: Vid,
        node: NodeId,
        incarnation: Incarnation,
        time_ns: u64,
    ) -> Result<Outcome, Refused> {
        if !self.is_current(node, incarnation) {
            return Ok(Outcome::Void);
        }
        let owner = Attachment {
            node,
            incarnation,
            generation: Generation(0),
            index: self.index,
            since_ns: time_ns,
        };
        Arc::make_mut(&mut self.catalogue).attach(vid, owner).map(Outcome::Attached)
    }

    fn apply_create(&mut self, command: &Command) -> Result<Outcome, Refused> {
        let Command::CreateVdi { name, size, copies, object_shift, time_ns } = command else {
            return Ok(Outcome::Void);
        };
        let format = self.format.clone().ok_or(Refused::NotFormatted)?;
        let object_shift = object_shift.unwrap_or(format.object_shift);
        catalogue::check_new(name, *size, object_shift)?;
        if let Some(taken) = self.catalogue.find(name) {
            return Err(Refused::NameTaken(taken.vid));
        }
        let policy = match copies {
            None => format.policy,
            Some(copies) => self.policy_for(*copies, &format)?,
        };
        let vid = self.catalogue.free_vid(name).ok_or(Refused::NoVid)?;
        let snap_id = self.catalogue.next_snap_id(name);
        let vdi = Vdi {
            vid,
            name: name.clone(),
            tag: String::new(),
            size: *size,
            policy,
            object_shift,
            created_ns: *time_ns,
            snapshot_ns: 0,
            snap_id,
            parent: None,
            deleted: false,
            generation: Generation(0),
            attachment: None,
        };
        Arc::make_mut(&mut self.catalogue).insert(vdi);
        Ok(Outcome::Created(vid))
    }

    fn policy_for(&mut self, copies: Copies, format: &Format) -> Result<PolicyId, Refused> {
        if let Some(found) = self.policies.iter().position(|p| p.copies == copies) {
            return Ok(PolicyId(found as u8));
        }
        if self.policies.len() > usize::from(u8::MAX) {
            return Err(Refused::Invalid("number of redundancy classes"));
        }
        let view = View(self.index.0);
        let candidates = self.candidates();
        let bits = format.partition_bits;
        let policy = Policy::place(copies, &candidates, &self.members, bits, view)?;
        Arc::make_mut(&mut self.policies).push(policy);
        Ok(PolicyId((self.policies.len() - 1) as u8))
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
