//! Every command against the client.

use sheepdog_client::nbd::{Request, Run};
use sheepdog_engine::volume::{Operation, Refusal};

use super::*;
use crate::door::Kind;
use crate::testing::Observed;

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|n| ((n.wrapping_mul(0x9e37_79b9) >> 7) ^ n >> 12 ^ seed) as u8).collect()
}

#[test]
fn every_command_does_what_it_says_over_both_sockets_and_both_kinds_of_replies() {
    run(async {
        let sheep = Sheep::start(1).await;
        let size = 10 * MIB + 777;
        for (round, structured) in [(0, false), (1, true)] {
            for (which, endpoint) in [&sheep.unix, &sheep.tcp].into_iter().enumerate() {
                let name = format!("disk-{round}-{which}");
                sheep.cluster.create(&name, size, None);
                let options = Options { structured, allocation: structured };
                let disk = Connection::open(endpoint, &name, options).await.unwrap();
                assert_eq!(disk.export().structured, structured);
                assert_eq!(disk.export().size, size);
                assert!(disk.read(0, 4096).await.unwrap().iter().all(|byte| *byte == 0));
                let data = pattern(3 * MIB as usize + 5, 1);
                disk.write(MIB - 3, &data, false).await.unwrap();
                let mut wanted = vec![0; 3];
                wanted.extend_from_slice(&data);
                assert!(disk.read(MIB - 6, wanted.len() as u32).await.unwrap() == wanted);
                disk.write(size - 1, b"z", true).await.unwrap();
                assert_eq!(disk.read(size - 1, 1).await.unwrap(), b"z");
                disk.flush().await.unwrap();
                disk.write_zeroes(2 * MIB + 1, 4096, false).await.unwrap();
                assert!(disk.read(2 * MIB + 1, 4096).await.unwrap().iter().all(|b| *b == 0));
                assert!(disk.read(2 * MIB, 1).await.unwrap() == data[MIB as usize + 3..][..1]);
                disk.trim(0, 4 * MIB as u32).await.unwrap();
                assert!(disk.read(0, 4 * MIB as u32).await.unwrap().iter().all(|b| *b == 0));
                disk.disconnect().await.unwrap();
            }
        }
    });
}

#[test]
fn many_requests_in_flight_get_their_own_answers() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 64 * MIB, None);
        let disk = sheep.open("a").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200_u64 {
            let disk = disk.clone();
            tasks.spawn_local(async move {
                let (offset, len) = (n * 300_000, 1 + (n * 7919 % 200_000) as usize);
                let data = pattern(len, n);
                disk.write(offset, &data, n % 3 == 0).await.unwrap();
                assert!(disk.read(offset, len as u32).await.unwrap() == data, "{n}");
            });
        }
        while let Some(end) = tasks.join_next().await {
            end.unwrap();
        }
        let ok = sheep.cluster.observed().iter().filter(|seen| seen.ok).count();
        assert_eq!(ok, 400);
    });
}

#[test]
fn zeroes_make_holes_unless_they_must_not() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 40 * MIB, None);
        let disk = sheep.open("a").await;
        disk.write_zeroes(0, 40 << 20, true).await.unwrap();
        assert_eq!(sheep.cluster.allocated(vid).len(), 10);
        disk.write_zeroes(8 << 20, 16 << 20, false).await.unwrap();
        assert_eq!(sheep.cluster.allocated(vid).len(), 6);
        let runs = disk.block_status(0, 40 << 20, false).await.unwrap();
        let run = |len: u32, hole| Run { len: len << 20, hole, zero: hole };
        assert_eq!(runs, [run(8, false), run(16, true), run(16, false)]);
        let runs = disk.block_status(7 << 20, 20 << 20, true).await.unwrap();
        assert_eq!(runs, [run(1, false)]);
        let newest = sheep.cluster.operations();
        assert!(newest.iter().any(|operation| matches!(operation, Operation::Status { .. })));
    });
}

#[test]
fn a_long_zeroing_that_uses_space_keeps_few_parts_under_way() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 200 * MIB, Some(20));
        let disk = sheep.open("a").await;
        sheep.door().hold();
        let other = disk.clone();
        let zeroing = spawn_local(async move { other.write_zeroes(5, 100 << 20, true).await });
        sheep.until("parts are under way", || sheep.door().held() > 0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(sheep.door().held(), 4);
        sheep.door().let_go();
        zeroing.await.unwrap().unwrap();
        assert_eq!(sheep.cluster.allocated(vid).len(), 101);
        // A fault ends it early, and is told.
        sheep.cluster.refuse_next(Refusal::NoSpace);
        assert_eq!(failed(disk.write_zeroes(0, 100 << 20, true).await), 28);
        let writes = sheep.cluster.operations();
        assert!(writes.len() < 128, "the rest is not tried: {}", writes.len());
    });
}

#[test]
fn an_empty_request_is_answered_at_once() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        for structured in [false, true] {
            let options = Options { structured, allocation: false };
            let disk = Connection::open(&sheep.unix, "a", options).await.unwrap();
            assert!(disk.read(4096, 0).await.unwrap().is_empty());
            disk.write(4096, b"", true).await.unwrap();
            disk.trim(7, 0).await.unwrap();
            disk.write_zeroes(7, 0, false).await.unwrap();
            disk.write_zeroes(7, 0, true).await.unwrap();
        }
        assert!(sheep.cluster.operations().is_empty());
    });
}

#[test]
fn what_is_not_allowed_fails_and_the_connection_goes_on() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 40 * MIB, None);
        for structured in [false, true] {
            let options = Options { structured, allocation: structured };
            let disk = Connection::open(&sheep.unix, "a", options).await.unwrap();
            let ask = |command, flags, offset, len, payload| {
                disk.request(Request { command, flags, offset, len, payload })
            };
            assert_eq!(failed(ask(0, 0, 40 * MIB - 1, 2, &[]).await), 22);
            assert_eq!(failed(ask(1, 0, 40 * MIB - 1, 2, b"ab").await), 28);
            assert_eq!(failed(ask(0, 0, 0, 33 << 20, &[]).await), 22);
            let large = vec![7; 33 << 20];
            assert_eq!(failed(ask(1, 0, 0, 33 << 20, &large).await), 22);
            assert_eq!(failed(ask(1, 1 << 4, 0, 4, b"abcd").await), 22);
            assert_eq!(failed(ask(5, 0, 0, 4096, &[]).await), 22);
            assert_eq!(failed(ask(3, 0, 1, 0, &[]).await), 22);
            assert_eq!(ask(7, 0, 0, 4096, &[]).await.is_ok(), structured);
            assert_eq!(ask(0, 1 << 2, 0, 4096, &[]).await.is_ok(), structured);
            disk.write(0, b"fine", false).await.unwrap();
            disk.disconnect().await.unwrap();
        }
    });
}

#[test]
fn refusals_of_the_gateway_reach_the_client_as_errors_with_their_text() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 8 * MIB, None);
        let disk = sheep.open("a").await;
        let errors = [
            (Refusal::NoSpace, 28),
            (Refusal::Io("checksum".to_owned()), 5),
            (Refusal::Stopping, 108),
            (Refusal::Invalid("odd"), 22),
        ];
        for (refusal, errno) in errors {
            for len in [4096_usize, 3 << 20] {
                sheep.cluster.refuse_next(refusal.clone());
                assert_eq!(failed(disk.write(1, &vec![1; len], false).await), errno);
                sheep.cluster.refuse_next(refusal.clone());
                assert_eq!(failed(disk.read(1, len as u32).await), errno);
            }
            sheep.cluster.refuse_next(refusal.clone());
            match disk.flush().await {
                Err(NbdError::Failed { text, .. }) => assert_eq!(text, refusal.to_string()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(disk.read(0, 10).await.unwrap().len(), 10);
    });
}

/// The next attachment through this sheep may be somebody else's.
#[test]
fn a_client_whose_attachment_is_lost_must_connect_anew() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 8 * MIB, None);
        let disk = sheep.open("a").await;
        sheep.cluster.refuse_next(Refusal::Fenced);
        assert!(disk.write(1, &[1; 4096], false).await.is_err());
        assert!(disk.write(1, &[2; 4096], false).await.is_err(), "nothing is taken any more");
        drop(disk);
        let disk = sheep.open("a").await;
        assert_eq!(disk.read(1, 1).await.unwrap()[0], 0);
    });
}

#[test]
fn finished_operations_are_observed_by_kind() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 8 * MIB, None);
        let disk = sheep.open("a").await;
        disk.write(0, &[1; 5000], false).await.unwrap();
        disk.read(0, 3 << 20).await.unwrap();
        disk.flush().await.unwrap();
        disk.trim(0, 4096).await.unwrap();
        assert_eq!(failed(disk.read(8 * MIB, 1).await), 22);
        let seen = |kind, bytes, ok| Observed { face: Face::Nbd, kind, bytes, ok };
        let wanted = [
            seen(Kind::Write, 5000, true),
            seen(Kind::Read, 3 << 20, true),
            seen(Kind::Flush, 0, true),
            seen(Kind::Zero, 4096, true),
            seen(Kind::Other, 0, false),
        ];
        assert_eq!(sheep.cluster.observed(), wanted);
    });
}

#[test]
fn an_export_keeps_the_size_it_had_when_it_was_opened() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 8 * MIB, None);
        let disk = sheep.open("a").await;
        let resize = sheepdog_proto::command::Command::ResizeVdi { vid, size: 16 * MIB };
        sheep.cluster.command(&resize).unwrap();
        assert_eq!(failed(disk.write(8 * MIB, b"x", false).await), 28); // P1
        let newer = sheep.open("a").await;
        newer.write(8 * MIB, b"x", false).await.unwrap();
    });
}
