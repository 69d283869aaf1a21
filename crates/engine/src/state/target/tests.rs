use super::*;
use sheepdog_proto::command::{Addresses, Command};
use sheepdog_proto::{LogIndex, PgId};

struct Log(ClusterState);

const BITS: u8 = 5;

impl Log {
    fn formatted(count: u16, copies: Copies) -> Self {
        let mut log = Self(ClusterState::default());
        (0..count).for_each(|node| log.join(node, 64));
        let (cluster, time_ns, object_shift) = (9, 1, 22);
        log.push(Command::Format { cluster, time_ns, partition_bits: BITS, object_shift, copies });
        log
    }

    fn push(&mut self, command: Command) -> Outcome {
        let index = LogIndex(self.0.index.0 + 1);
        self.0.apply(index, &Command::decode(&command.encode()).unwrap()).unwrap()
    }

    fn join(&mut self, node: u16, weight: u32) {
        let uuid = u128::from(node) + 100;
        let (zone, addresses) = (u32::from(node), Addresses::default());
        self.push(Command::Join { uuid, zone, weight, shards: 1, addresses });
    }

    fn life(&self, node: u16) -> (NodeId, Incarnation) {
        (NodeId(node), self.0.members.get(NodeId(node)).unwrap().incarnation)
    }

    fn gone(&mut self, node: u16) {
        let (node, incarnation) = self.life(node);
        self.push(Command::Gone { node, incarnation });
    }

    fn out(&mut self, node: u16) -> Outcome {
        let (node, incarnation) = self.life(node);
        self.push(Command::Out { node, incarnation })
    }

    /// Lost members leave, as they do when somebody writes.
    fn act(&mut self) {
        let lost = self.0.groups().filter(|(_, group)| group.has_lost(&self.0.members));
        let groups = lost.map(|(pg, group)| (pg, group.view)).collect();
        self.push(Command::Act { groups });
    }

    /// Groups of which the node is a target and has no copy.
    fn lacking(&self, node: u16) -> Vec<PgId> {
        let lacks = |(_, group): &(PgId, &Group)| group.lacks(NodeId(node));
        self.0.groups().filter(lacks).map(|(pg, _)| pg).collect()
    }

    fn join_groups(&mut self, node: u16) -> usize {
        let groups = self.lacking(node);
        let (node, incarnation) = self.life(node);
        self.push(Command::Joining { node, incarnation, groups: groups.clone() });
        groups.len()
    }

    /// Everything that the node joined is there.
    fn complete(&mut self, node: u16) {
        let joined = |(pg, group): (PgId, &Group)| Some((pg, group.joined(NodeId(node))?));
        let groups = self.0.groups().filter_map(joined).collect();
        let (node, incarnation) = self.life(node);
        self.push(Command::InSync { node, incarnation, groups });
    }

    fn count(&self, is: impl Fn(&Group) -> bool) -> usize {
        self.0.groups().filter(|(_, group)| is(group)).count()
    }

    fn is_settled(&self) -> bool {
        let sorted = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        self.count(|group| sorted(&group.targets) != sorted(&group.in_sync)) == 0
    }
}

const ALL: usize = 1 << BITS;

#[test]
fn a_new_sheep_gets_its_share_and_the_others_stay_until_it_has_it() {
    let mut log = Log::formatted(3, Copies::Auto);
    log.join(3, 64);
    let moved = log.lacking(3).len();
    assert!((ALL / 2..ALL).contains(&moved), "three quarters of {ALL}: {moved}");
    assert_eq!(log.count(|group| group.targets.len() == 3), ALL);
    assert_eq!(log.count(|group| group.in_sync.len() == 3), ALL);
    assert_eq!(log.join_groups(3), moved);
    assert_eq!(log.count(|group| group.in_sync.len() == 3), ALL, "SETTLE");
    log.complete(3);
    assert!(log.is_settled());
    assert_eq!(log.count(|group| group.in_sync.contains(&NodeId(3))), moved);
    let free = log.count(|group| group.can_do_without(NodeId(0), &log.0.members));
    let holds = log.count(|group| group.in_sync.contains(&NodeId(0)));
    assert_eq!(free + holds, ALL, "what is not needed can go");
}

#[test]
fn nobody_leaves_while_a_target_is_away() {
    let mut log = Log::formatted(3, Copies::Auto);
    log.join(3, 64);
    log.join_groups(3);
    log.gone(0);
    log.complete(3);
    let with_first = |group: &Group| group.targets.contains(&NodeId(0));
    let extra = log.count(|group| with_first(group) && group.in_sync.len() == 4);
    assert!(extra > 0, "SETTLE: the one who is to leave stays");
    let free = log.count(|group| {
        with_first(group) && (1..3).any(|n| group.can_do_without(NodeId(n), &log.0.members))
    });
    assert_eq!(free, 0);
    log.join(0, 64);
    assert!(log.is_settled(), "with the return of the last one");
}

#[test]
fn who_is_out_is_replaced_and_has_its_place_again_when_it_returns() {
    let mut log = Log::formatted(4, Copies::Auto);
    let before: Vec<_> = log.0.groups().map(|(_, group)| group.targets.clone()).collect();
    assert_eq!(log.out(1), Outcome::Void, "it is up");
    log.gone(1);
    log.act();
    assert!(log.count(|group| group.targets.contains(&NodeId(1))) > 0);
    assert_eq!(log.out(1), Outcome::Done);
    assert_eq!(log.out(1), Outcome::Void);
    assert_eq!(log.count(|group| group.targets.contains(&NodeId(1))), 0);
    for node in [0, 2, 3] {
        log.join_groups(node);
        log.complete(node);
    }
    assert!(log.is_settled());
    log.join(1, 64);
    let after: Vec<_> = log.0.groups().map(|(_, group)| group.targets.clone()).collect();
    assert_eq!(before, after, "T4");
    assert_eq!(log.count(|group| group.in_sync.len() == 3), ALL);
}

#[test]
fn without_another_zone_the_target_that_is_away_stays() {
    let mut log = Log::formatted(3, Copies::Auto);
    log.gone(2);
    log.act();
    log.out(2);
    assert_eq!(log.count(|group| group.targets.contains(&NodeId(2))), ALL, "T2");
    assert_eq!(log.count(|group| group.copies_min() == 2), ALL);
    log.gone(1);
    assert_eq!(log.count(|group| group.live_count(&log.0.members) < group.copies_min()), ALL);
}

#[test]
fn more_sheep_make_more_copies_and_hold_up_nobody_meanwhile() {
    let mut log = Log::formatted(1, Copies::Auto);
    log.join(1, 64);
    log.join(2, 64);
    let fit = |group: &Group| group.live_count(&log.0.members) >= group.copies_min();
    assert_eq!(log.count(|group| group.targets.len() == 3), ALL);
    assert_eq!(log.count(fit), ALL, "T3");
    log.join_groups(1);
    log.complete(1);
    assert_eq!(log.count(|group| group.copies_min() == 1), ALL);
    log.join_groups(2);
    log.complete(2);
    assert_eq!(log.count(|group| group.copies_min() == 2), ALL);
    // A class that asks for a number keeps it.
    let mut log = Log::formatted(2, Copies::Exactly(2));
    log.join(2, 64);
    assert_eq!(log.count(|group| group.targets.len() == 2), ALL);
}

#[test]
fn a_sheep_without_weight_gives_its_copies_away() {
    let mut log = Log::formatted(4, Copies::Auto);
    log.join(0, 0);
    assert_eq!(log.count(|group| group.targets.contains(&NodeId(0))), 0);
    let held = log.count(|group| group.in_sync.contains(&NodeId(0)));
    assert!(held > 0);
    for node in 1..4 {
        log.join_groups(node);
        log.complete(node);
    }
    assert!(log.is_settled());
    assert_eq!(log.count(|group| group.takes(NodeId(0))), 0);
}

#[test]
fn who_joins_what_it_shall_not_hold_any_more_joins_no_more() {
    let mut log = Log::formatted(3, Copies::Auto);
    log.join(3, 64);
    log.join_groups(3);
    log.gone(3);
    log.out(3);
    assert_eq!(log.count(|group| !group.joiners.is_empty()), 0);
    assert!(log.is_settled());
}

#[test]
fn a_new_class_is_placed_beside_who_is_away() {
    let mut log = Log::formatted(3, Copies::Auto);
    log.gone(2);
    let (name, size, time_ns) = ("a".to_owned(), 1 << 30, 0);
    let copies = Some(Copies::Exactly(3));
    log.push(Command::CreateVdi { name, size, copies, object_shift: None, time_ns });
    let class = &log.0.policies[1];
    assert!(class.groups.iter().all(|group| group.targets.len() == 3 && group.in_sync.len() == 2));
}
