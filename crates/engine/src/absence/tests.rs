use super::*;
use sheepdog_proto::LogIndex;
use sheepdog_proto::command::{Addresses, Copies};

struct Log(ClusterState);

impl Log {
    fn new() -> Self {
        let mut log = Self(ClusterState::default());
        (0..3).for_each(|node| log.join(node));
        let (cluster, time_ns, partition_bits, object_shift) = (1, 0, 2, 22);
        let copies = Copies::Auto;
        log.push(&Command::Format { cluster, time_ns, partition_bits, object_shift, copies });
        log
    }

    fn push(&mut self, command: &Command) {
        let index = LogIndex(self.0.index.0 + 1);
        self.0.apply(index, command).unwrap();
    }

    fn join(&mut self, node: u32) {
        let (uuid, addresses) = (u128::from(node) + 1, Addresses::default());
        self.push(&Command::Join { uuid, zone: node, weight: 16, shards: 1, addresses });
    }

    fn gone(&mut self, node: u16) -> Command {
        let incarnation = self.0.members.get(NodeId(node)).unwrap().incarnation;
        self.push(&Command::Gone { node: NodeId(node), incarnation });
        Command::Out { node: NodeId(node), incarnation }
    }

    fn me(&self, node: u16) -> Me {
        let member = self.0.members.get(NodeId(node)).unwrap();
        Me { node: member.node, incarnation: member.incarnation }
    }
}

/// The tick with which something was said first.
fn first(log: &Log, me: u16, patience: u64) -> Option<(u64, Command)> {
    let mut absences = Absences::default();
    let mut say = |tick| {
        let mut said = absences.tick(&log.0, log.me(me), patience);
        said.pop().map(|command| (tick, command))
    };
    (1..100).find_map(&mut say)
}

#[test]
fn the_first_that_is_up_says_it_and_the_others_later() {
    let mut log = Log::new();
    let out = log.gone(0);
    assert_eq!(first(&log, 1, 5), Some((5, out.clone())));
    assert_eq!(first(&log, 2, 5), Some((5 + AGAIN, out)));
    assert_eq!(first(&log, 2, 0), None, "never");
}

#[test]
fn a_sheep_that_returns_begins_anew() {
    let mut log = Log::new();
    log.gone(2);
    let mut absences = Absences::default();
    for _ in 0..4 {
        assert_eq!(absences.tick(&log.0, log.me(0), 5), []);
    }
    log.join(2);
    let out = log.gone(2);
    for _ in 0..4 {
        assert_eq!(absences.tick(&log.0, log.me(0), 5), [], "AB1");
    }
    assert_eq!(absences.tick(&log.0, log.me(0), 5), std::slice::from_ref(&out));
    log.push(&out);
    for _ in 0..50 {
        assert_eq!(absences.tick(&log.0, log.me(0), 5), [], "it is out");
    }
}

#[test]
fn it_is_said_again_until_it_is_in_the_log_but_not_at_the_end() {
    let mut log = Log::new();
    let out = log.gone(2);
    let mut absences = Absences::default();
    let said: Vec<u64> = (1..=2 * AGAIN + 1)
        .filter(|_| absences.tick(&log.0, log.me(0), 1) == std::slice::from_ref(&out))
        .collect();
    assert_eq!(said, [1, 1 + AGAIN, 1 + 2 * AGAIN]);
    log.push(&Command::Shutdown { time_ns: 0 });
    assert_eq!(first(&log, 0, 1), None, "AB2");
}
