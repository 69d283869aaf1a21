//! How long a gateway thinks about one 4 KiB write: printed, not judged.

use std::time::{Duration, Instant};

use sheepdog_proto::peer::{Reply, ReplyBody, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Payload};

use super::super::Action;
use super::stage::{A, Stage};
use crate::volume::Operation;

const WRITES: u64 = 20_000;
const UNDER_WAY: u64 = 32;

#[test]
fn a_write_of_a_block_costs_the_gateway_little() {
    let mut stage = Stage::written();
    let (place, vid) = (stage.place(A), stage.vid);
    let gateway = &mut stage.herd.unit(place).expect("alive").gateway;
    let data = Payload::from(&[7_u8; BLOCK_BYTES][..]);
    let (mut sending, mut answering) = (Duration::ZERO, Duration::ZERO);
    let (mut sent, mut answered) = (0, 0);
    for round in 0..WRITES / UNDER_WAY {
        let start = Instant::now();
        let mut requests = Vec::new();
        for token in 0..UNDER_WAY {
            let offset = (round * 7 + token) % 200 * BLOCK_BYTES as u64;
            gateway.submit(vid, Operation::Write { offset, data: data.clone() }, token);
            requests.extend(gateway.take_actions());
        }
        sending += start.elapsed();
        sent += requests.len() as u64;
        let start = Instant::now();
        for action in requests {
            let Action::Send(to, request) = action else { panic!("{action:?}") };
            assert!(matches!(request.body, RequestBody::Write { .. }));
            gateway.handle_reply(to, Reply { id: request.id, result: Ok(ReplyBody::Done) });
            answered += gateway.take_actions().len() as u64;
        }
        answering += start.elapsed();
    }
    let writes = WRITES / UNDER_WAY * UNDER_WAY;
    assert_eq!((sent, answered), (writes * 3, writes));
    let each = |time: Duration| time.as_nanos() / u128::from(writes);
    println!(
        "submit to 3 sends: {} ns, 3 replies to answer: {} ns",
        each(sending),
        each(answering)
    );
    assert!(stage.herd.check_idle().is_ok());
}
