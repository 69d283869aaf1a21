use super::*;
use sheepdog_proto::command::Addresses;

struct Log {
    state: ClusterState,
}

impl Log {
    fn herd(count: u16) -> Self {
        let mut log = Self { state: ClusterState::default() };
        for node in 0..count {
            log.join(node);
        }
        log
    }

    fn formatted(count: u16) -> Self {
        let mut log = Self::herd(count);
        log.push(format(Copies::Auto)).unwrap();
        log
    }

    fn push(&mut self, command: Command) -> Result<Outcome, Refused> {
        let index = LogIndex(self.state.index.0 + 1);
        let copied = Command::decode(&command.encode()).unwrap();
        self.state.apply(index, &copied)
    }

    fn join(&mut self, node: u16) -> Incarnation {
        let uuid = u128::from(node) + 100;
        let command = Command::Join {
            uuid,
            zone: u32::from(node),
            weight: 64,
            shards: 2,
            addresses: Addresses::default(),
        };
        match self.push(command) {
            Ok(Outcome::Joined(joined, incarnation)) => {
                assert_eq!(joined, NodeId(node));
                incarnation
            }
            other => panic!("{other:?}"),
        }
    }

    fn gone(&mut self, node: u16) -> Outcome {
        let incarnation = self.state.members.get(NodeId(node)).unwrap().incarnation;
        self.push(Command::Gone { node: NodeId(node), incarnation }).unwrap()
    }

    fn demote(&mut self, node: u16, groups: &[PgId]) -> Outcome {
        let (node, groups) = (NodeId(node), groups.to_vec());
        let incarnation = self.state.members.get(node).unwrap().incarnation;
        self.push(Command::Demote { node, incarnation, groups }).unwrap()
    }

    fn joining(&mut self, node: u16, groups: &[PgId]) -> Outcome {
        let (node, groups) = (NodeId(node), groups.to_vec());
        let incarnation = self.state.members.get(node).unwrap().incarnation;
        self.push(Command::Joining { node, incarnation, groups }).unwrap()
    }

    fn in_sync(&mut self, node: u16, groups: &[(PgId, View)]) -> Outcome {
        let (node, groups) = (NodeId(node), groups.to_vec());
        let incarnation = self.state.members.get(node).unwrap().incarnation;
        self.push(Command::InSync { node, incarnation, groups }).unwrap()
    }

    fn create(&mut self, name: &str) -> Result<Vid, Refused> {
        let command = Command::CreateVdi {
            name: name.into(),
            size: 1 << 30,
            copies: None,
            object_shift: None,
            time_ns: 1,
        };
        self.push(command).map(|outcome| match outcome {
            Outcome::Created(vid) => vid,
            other => panic!("{other:?}"),
        })
    }

    fn attach(&mut self, vid: Vid, node: u16) -> Result<Outcome, Refused> {
        let incarnation = self.state.members.get(NodeId(node)).unwrap().incarnation;
        self.push(Command::Attach { vid, node: NodeId(node), incarnation, time_ns: 5 })
    }

    fn first_group(&self) -> (PgId, &Group) {
        let pg = PgId { policy: PolicyId(0), partition: sheepdog_proto::Partition(0) };
        (pg, self.state.group(pg).unwrap())
    }
}

fn format(copies: Copies) -> Command {
    Command::Format { cluster: 9, time_ns: 1, partition_bits: 4, object_shift: 22, copies }
}

#[test]
fn format_places_as_many_copies_as_zones_up_to_three() {
    for (sheep, copies) in [(1, 1), (2, 2), (3, 3), (5, 3)] {
        let log = Log::formatted(sheep);
        assert_eq!(log.first_group().1.targets.len(), copies, "{sheep} sheep");
    }
    let few = Log::herd(2).push(format(Copies::Exactly(3)));
    assert_eq!(few, Err(Refused::TooFewZones { zones: 2, copies: 3 }));
    assert_eq!(Log::formatted(3).push(format(Copies::Auto)), Err(Refused::AlreadyFormatted));
}

#[test]
fn a_member_that_returns_before_act_is_still_in_sync() {
    let mut log = Log::formatted(3);
    let before = log.first_group().1.view;
    log.gone(1);
    assert!(log.first_group().1.has_lost(&log.state.members));
    assert!(log.first_group().1.view > before);
    let lost = log.first_group().1.view;
    log.join(1);
    assert_eq!(log.first_group().1.in_sync.len(), 3);
    assert!(!log.first_group().1.has_lost(&log.state.members));
    assert!(log.first_group().1.view > lost, "INCARNATION: a restart is a new view");
}

#[test]
fn act_removes_the_lost_member_once_and_for_all() {
    let mut log = Log::formatted(3);
    let (pg, stale) = (log.first_group().0, log.first_group().1.view);
    log.gone(1);
    let view = log.first_group().1.view;
    assert_eq!(log.push(Command::Act { groups: vec![(pg, stale)] }), Ok(Outcome::Void));
    assert_eq!(log.push(Command::Act { groups: vec![(pg, view)] }), Ok(Outcome::Done));
    assert_eq!(log.first_group().1.in_sync.len(), 2); // ACTIVATE
    log.join(1);
    assert!(!log.first_group().1.in_sync.contains(&NodeId(1)));
    assert_eq!(log.first_group().1.targets.len(), 3);
}

#[test]
fn the_last_members_stay_in_sync_though_all_are_gone() {
    let mut log = Log::formatted(3);
    let pg = log.first_group().0;
    for node in 0..3 {
        log.gone(node);
    }
    let view = log.first_group().1.view;
    assert_eq!(log.push(Command::Act { groups: vec![(pg, view)] }), Ok(Outcome::Void));
    assert_eq!(log.first_group().1.in_sync.len(), 3); // STICKY
}

#[test]
fn a_demoted_member_leaves_and_the_last_one_stays() {
    let mut log = Log::formatted(3);
    let (pg, before) = (log.first_group().0, log.first_group().1.view);
    let other = PgId { partition: sheepdog_proto::Partition(1), ..pg };
    assert_eq!(log.demote(1, &[pg]), Outcome::Done);
    assert!(!log.first_group().1.in_sync.contains(&NodeId(1)));
    assert!(log.first_group().1.view > before);
    assert_eq!(log.first_group().1.targets.len(), 3);
    assert_eq!(log.state.group(other).unwrap().in_sync.len(), 3);
    assert_eq!(log.state.group(other).unwrap().view, before);
    assert_eq!(log.demote(1, &[pg]), Outcome::Void);
    assert_eq!(log.demote(0, &[pg]), Outcome::Done);
    let view = log.first_group().1.view;
    assert_eq!(log.demote(2, &[pg]), Outcome::Void);
    assert_eq!(log.first_group().1.in_sync, [NodeId(2)]); // STICKY
    assert_eq!(log.first_group().1.view, view);
    // A list of groups goes as far as it can, and groups that do not exist are passed over.
    let none = PgId { policy: PolicyId(9), ..pg };
    assert_eq!(log.demote(2, &[none, pg, other]), Outcome::Done);
    assert_eq!(log.state.group(other).unwrap().in_sync.len(), 2);
}

/// Disks of several members that hang at once.
#[test]
fn members_rest_only_while_the_others_suffice() {
    let mut log = Log::formatted(3);
    let pg = log.first_group().0;
    let rest = |log: &mut Log, node: u16| {
        let incarnation = log.state.members.get(NodeId(node)).unwrap().incarnation;
        log.push(Command::Rest { node: NodeId(node), incarnation, groups: vec![pg] }).unwrap()
    };
    assert_eq!(rest(&mut log, 0), Outcome::Done);
    assert_eq!(rest(&mut log, 1), Outcome::Void, "two of three are needed");
    assert_eq!(log.first_group().1.in_sync.len(), 2);
    // Of two copies one is enough, but it must be up.
    let mut log = Log::formatted(2);
    log.gone(1);
    assert_eq!(rest(&mut log, 0), Outcome::Void);
    log.join(1);
    assert_eq!(rest(&mut log, 0), Outcome::Done);
    assert_eq!(rest(&mut log, 1), Outcome::Void);
    // Whoever joins can always leave.
    assert_eq!(log.joining(0, &[pg]), Outcome::Done);
    assert_eq!(rest(&mut log, 0), Outcome::Done);
    assert!(log.first_group().1.joiners.is_empty());
}

#[test]
fn a_member_is_demoted_though_the_others_are_lost() {
    // They hold every acknowledged write, it does not.
    let mut log = Log::formatted(2);
    let pg = log.first_group().0;
    log.gone(1);
    assert_eq!(log.demote(0, &[pg]), Outcome::Done);
    assert_eq!(log.first_group().1.in_sync, [NodeId(1)]);
    let view = log.first_group().1.view;
    assert_eq!(log.push(Command::Act { groups: vec![(pg, view)] }), Ok(Outcome::Void));
}

#[test]
fn only_the_life_that_goes_on_can_be_demoted() {
    let mut log = Log::formatted(3);
    let pg = log.first_group().0;
    let incarnation = log.state.members.get(NodeId(1)).unwrap().incarnation;
    let old = Command::Demote { node: NodeId(1), incarnation, groups: vec![pg] };
    log.gone(1);
    assert_eq!(log.push(old.clone()), Ok(Outcome::Void));
    log.join(1);
    assert_eq!(log.push(old), Ok(Outcome::Void));
    assert_eq!(log.first_group().1.in_sync.len(), 3);
}

#[test]
fn one_owner_at_a_time_and_generations_only_rise() {
    let mut log = Log::formatted(3);
    let vid = log.create("vm0").unwrap();
    assert_eq!(log.attach(vid, 0), Ok(Outcome::Attached(Generation(1))));
    assert!(matches!(log.attach(vid, 1), Err(Refused::Locked(a)) if a.node == NodeId(0)));
    let old = Command::Detach { vid, generation: Generation(7) };
    assert_eq!(log.push(old), Ok(Outcome::Void));
    log.gone(0);
    assert_eq!(log.attach(vid, 1), Ok(Outcome::Attached(Generation(2))));
    log.push(Command::Detach { vid, generation: Generation(2) }).unwrap();
    assert_eq!(log.attach(vid, 2), Ok(Outcome::Attached(Generation(3))));
}

#[test]
fn a_restarted_owner_finds_its_vdi_free_under_a_new_generation() {
    let mut log = Log::formatted(3);
    let vid = log.create("vm0").unwrap();
    log.attach(vid, 0).unwrap();
    log.join(0);
    assert_eq!(log.attach(vid, 0), Ok(Outcome::Attached(Generation(2))));
}

#[test]
fn a_dead_life_can_do_nothing_more() {
    let mut log = Log::formatted(3);
    let vid = log.create("vm0").unwrap();
    let old = log.state.members.get(NodeId(0)).unwrap().incarnation;
    log.join(0);
    let attach = Command::Attach { vid, node: NodeId(0), incarnation: old, time_ns: 0 };
    assert_eq!(log.push(attach), Ok(Outcome::Void));
    assert_eq!(log.push(Command::Gone { node: NodeId(0), incarnation: old }), Ok(Outcome::Void));
    assert!(log.state.members.get(NodeId(0)).unwrap().up);
}

#[test]
fn a_will_made_before_the_join_ends_whichever_life_is_current() {
    let mut log = Log::formatted(3);
    let will = Command::Ended { uuid: 100 };
    assert_eq!(log.push(will.clone()), Ok(Outcome::Done));
    assert!(!log.state.members.get(NodeId(0)).unwrap().up);
    assert_eq!(log.push(will), Ok(Outcome::Void));
    assert_eq!(log.push(Command::Ended { uuid: 7 }), Ok(Outcome::Void));
}

#[test]
fn vids_follow_the_name_hash_and_are_never_reused() {
    let mut log = Log::formatted(1);
    let first = log.create("t1").unwrap();
    assert_eq!(first.get(), 0x6a_5e16);
    assert_eq!(log.create("t1"), Err(Refused::NameTaken(first)));
    log.push(Command::DeleteVdi { vid: first }).unwrap();
    assert!(log.state.catalogue.find("t1").is_none() && log.state.catalogue.get(first).is_none());
    assert_eq!(log.create("t1").unwrap(), first.next()); // K2
}

/// W7: a VDI was made by several writes, and names were looked for by probing.
#[test]
fn w07_a_vdi_is_made_whole_by_one_entry_under_a_name_of_its_own() {
    let mut log = Log::formatted(3);
    let mut used = std::collections::BTreeSet::new();
    for step in 0..200_usize {
        let name = format!("vm{}", step * step % 7);
        let before = log.state.catalogue.clone();
        let taken = before.find(&name).map(|vdi| vdi.vid);
        match (taken, step % 3) {
            (Some(vid), 0) => assert_eq!(log.push(Command::DeleteVdi { vid }), Ok(Outcome::Done)),
            (Some(vid), _) => {
                assert_eq!(log.create(&name), Err(Refused::NameTaken(vid)));
                assert_eq!(log.state.catalogue, before, "a refusal changes nothing");
            }
            (None, _) => assert!(used.insert(log.create(&name).unwrap()), "an id is given once"),
        }
        let all: Vec<&Vdi> = log.state.catalogue.iter().collect();
        for vdi in &all {
            assert_eq!(all.iter().filter(|other| other.name == vdi.name).count(), 1);
            assert_eq!(log.state.catalogue.find(&vdi.name), Some(*vdi));
            assert!(vdi.size == 1 << 30 && log.state.group_of(Oid::map(vdi.vid, 0)).is_some());
        }
    }
    assert!(used.len() > 20, "{}", used.len());
}

#[test]
fn an_attached_vdi_cannot_be_deleted() {
    let mut log = Log::formatted(1);
    let vid = log.create("vm0").unwrap();
    log.attach(vid, 0).unwrap();
    assert!(matches!(log.push(Command::DeleteVdi { vid }), Err(Refused::Locked(_))));
}

#[test]
fn sizes_and_names_out_of_range_are_refused() {
    let mut log = Log::formatted(1);
    assert!(matches!(log.create(""), Err(Refused::Invalid(_))));
    assert!(matches!(log.create(&"n".repeat(256)), Err(Refused::Invalid(_))));
    let vid = log.create("vm0").unwrap();
    assert_eq!(log.push(Command::ResizeVdi { vid, size: 1 }), Err(Refused::Shrink));
    let big = Command::ResizeVdi { vid, size: (1 << 42) + 1 };
    assert!(matches!(log.push(big), Err(Refused::Invalid(_))));
    log.push(Command::ResizeVdi { vid, size: 1 << 42 }).unwrap();
    assert_eq!(log.state.catalogue.get(vid).unwrap().object_count(), 1 << 20);
}

/// A herd of three of which one was lost, and writes went on without it.
fn without_one(lost: u16) -> (Log, PgId, View) {
    let mut log = Log::formatted(3);
    log.gone(lost);
    let (pg, view) = (log.first_group().0, log.first_group().1.view);
    log.push(Command::Act { groups: vec![(pg, view)] }).unwrap();
    let view = log.first_group().1.view;
    (log, pg, view)
}

#[test]
fn a_member_that_returns_joins_and_then_is_in_sync() {
    let (mut log, pg, left) = without_one(1);
    assert_eq!(log.joining(1, &[pg]), Outcome::Void, "it is not up");
    log.join(1);
    assert_eq!(log.first_group().1.view, left, "it takes no changes yet");
    assert_eq!(log.joining(1, &[pg, pg]), Outcome::Done);
    let joined = View(log.state.index.0);
    let group = log.first_group().1;
    assert_eq!((group.view, group.joined(NodeId(1))), (joined, Some(joined)));
    assert_eq!(group.complete_before(NodeId(1)), left);
    assert_eq!(log.state.joiners(group).count(), 1);
    assert_eq!(group.live_count(&log.state.members), 2, "it does not count as a copy");
    assert_eq!(log.joining(1, &[pg]), Outcome::Void, "it joins already");
    assert_eq!(log.in_sync(1, &[(pg, View(joined.0 - 1))]), Outcome::Void, "another joining");
    assert_eq!(log.in_sync(0, &[(pg, joined)]), Outcome::Void);
    assert_eq!(log.in_sync(1, &[(pg, joined)]), Outcome::Done);
    let group = log.first_group().1;
    assert_eq!(group.view, View(log.state.index.0));
    assert!(group.in_sync.contains(&NodeId(1)) && group.joiners.is_empty());
    assert!(group.left.is_empty());
    assert_eq!(log.in_sync(1, &[(pg, joined)]), Outcome::Void);
}

#[test]
fn a_joiner_whose_life_ends_must_join_anew_and_no_act_is_needed() {
    let (mut log, pg, left) = without_one(1);
    log.join(1);
    log.joining(1, &[pg]);
    let joined = View(log.state.index.0);
    log.gone(1);
    let group = log.first_group().1;
    assert!(group.view > joined && group.joiners.is_empty());
    assert!(!group.has_lost(&log.state.members));
    log.join(1);
    assert_eq!(log.in_sync(1, &[(pg, joined)]), Outcome::Void);
    assert_eq!(log.first_group().1.complete_before(NodeId(1)), left, "since its first loss");
    log.joining(1, &[pg]);
    assert_eq!(log.in_sync(1, &[(pg, joined)]), Outcome::Void);
    // A life that ends without a word.
    log.join(1);
    assert!(log.first_group().1.joiners.is_empty());
}

#[test]
fn a_joiner_whose_disk_fails_is_taken_out_of_the_write_set() {
    let (mut log, pg, _) = without_one(1);
    log.join(1);
    log.joining(1, &[pg]);
    assert_eq!(log.demote(1, &[pg]), Outcome::Done);
    let group = log.first_group().1;
    assert!(group.joiners.is_empty() && group.lacks(NodeId(1)));
    assert_eq!(group.complete_before(NodeId(1)), View(0));
}

#[test]
fn a_copy_that_lost_its_disk_is_compared_from_the_beginning() {
    let mut log = Log::formatted(3);
    let pg = log.first_group().0;
    log.demote(2, &[pg]);
    assert_eq!(log.first_group().1.complete_before(NodeId(2)), View(0));
    log.joining(2, &[pg]);
    let joined = View(log.state.index.0);
    // The last in-sync members go; the joiner has everything, and is enough.
    log.gone(0);
    log.gone(1);
    assert_eq!(log.in_sync(2, &[(pg, joined)]), Outcome::Done);
    let group = log.first_group().1;
    assert_eq!((group.in_sync.len(), group.live_count(&log.state.members)), (3, 1));
}
