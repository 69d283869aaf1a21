use sheepdog_proto::peer::RequestBody;
use sheepdog_proto::{NodeId, Stamp, View};

use super::*;

fn request(generation: u32) -> Request {
    Request {
        id: 1,
        vid: Vid::new(5).unwrap(),
        generation: Generation(generation),
        view: View(1),
        stable: Stamp::NONE,
        body: RequestBody::Barrier { index: 1 },
    }
}

#[test]
fn an_older_owner_is_noticed_where_a_newer_one_was_served() {
    let place = |node| Place { node: NodeId(node), shard: 0 };
    let mut fence = Fence::default();
    fence.note(place(0), &request(1)).unwrap();
    fence.note(place(0), &request(2)).unwrap();
    fence.note(place(1), &request(1)).unwrap();
    fence.note(place(0), &request(1)).unwrap_err(); // F1
}
