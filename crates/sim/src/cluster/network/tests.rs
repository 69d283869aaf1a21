use sheepdog_proto::NodeId;
use sheepdog_proto::peer::{PeerError, Reply};

use super::*;

fn end(node: u16) -> End {
    End { place: Place { node: NodeId(node), shard: 0 }, life: 1 }
}

fn reply(id: u64) -> Message {
    Message::Reply(Reply { id, result: Err(PeerError::Full) })
}

#[test]
fn what_goes_one_way_arrives_in_order() {
    let mut network = Network::default();
    let id = network.connect(end(0), end(1));
    let slow = network.arrival(id, 0, 100, 50).unwrap();
    let fast = network.arrival(id, 0, 101, 1).unwrap();
    let back = network.arrival(id, 1, 101, 1).unwrap();
    assert!(slow < fast, "N1");
    assert!(back < fast, "the other way does not wait");
}

#[test]
fn a_blocked_way_keeps_what_comes_and_gives_it_back_in_order() {
    let mut network = Network::default();
    let id = network.connect(end(0), end(1));
    network.block(1, 0);
    assert!(network.pass(id, reply(1)).is_none());
    assert!(network.pass(id, reply(2)).is_none());
    assert!(!network.is_blocked(0, 1), "one way only");
    let freed: Vec<u64> = network
        .open(1, 0)
        .into_iter()
        .filter_map(|(_, message)| match message {
            Message::Reply(reply) => Some(reply.id),
            _ => None,
        })
        .collect();
    assert_eq!(freed, [1, 2]);
    assert!(network.pass(id, reply(3)).is_some());
}
