//! Requests as bytes: broken ones, too many, too large, in pieces.

use sheepdog_engine::volume::Operation;

use super::*;

#[test]
fn a_wrong_magic_ends_the_connection() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        let mut socket = sheep.raw_open("a").await;
        let mut bytes = request(3, 0, 1, 0, 0);
        bytes[0] = 0;
        socket.write_all(&bytes).await.unwrap();
        assert_closed(&mut socket).await;
    });
}

#[test]
fn requests_in_any_pieces_are_understood() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 8 * MIB, None);
        for piece in [1, 3, 27, 28, 29, 4096, 100_000] {
            let mut socket = sheep.raw_open("a").await;
            let payload: Vec<u8> = (0..70_000_u32).map(|n| (n / 3 + piece) as u8).collect();
            let mut bytes = Vec::new();
            for cookie in 0..3 {
                bytes.extend(request(1, 0, cookie, cookie * 70_000, 70_000));
                bytes.extend_from_slice(&payload);
                bytes.extend(request(3, 0, 100 + cookie, 0, 0));
            }
            let send = async {
                let (mut from, mut left) = (0, bytes.len());
                while left > 0 {
                    // Byte by byte only around the headers: the rest would take long.
                    let near = from % 70_028 < 64;
                    let len = if near { piece as usize } else { 9_973 }.min(left);
                    socket.write_all(&bytes[from..from + len]).await.unwrap();
                    (from, left) = (from + len, left - len);
                    tokio::task::yield_now().await;
                }
            };
            send.await;
            let mut cookies = Vec::new();
            for _ in 0..6 {
                let (cookie, errno) = simple_reply(&mut socket).await;
                assert_eq!(errno, 0);
                cookies.push(cookie);
            }
            cookies.sort_unstable();
            assert_eq!(cookies, [0, 1, 2, 100, 101, 102]);
            socket.write_all(&request(0, 0, 9, 70_000, 140_000)).await.unwrap();
            assert_eq!(simple_reply(&mut socket).await, (9, 0));
            let mut got = vec![0; 140_000];
            socket.read_exact(&mut got).await.unwrap();
            assert!(got == [&payload[..], &payload[..]].concat());
        }
    });
}

#[test]
fn a_claimed_payload_is_not_allocated_and_nothing_is_written_of_a_part_that_never_comes() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 64 * MIB, None);
        let mut socket = sheep.raw_open("a").await;
        socket.write_all(&request(1, 0, 1, 0, 32 << 20)).await.unwrap();
        socket.write_all(&vec![1; (1 << 20) + 5]).await.unwrap();
        sheep.until("a part is written", || !sheep.cluster.operations().is_empty()).await;
        drop(socket);
        sheep.until("the end is seen", || sheep.cluster.openers().holder(vid).is_none()).await;
        let operations = sheep.cluster.operations();
        assert_eq!(operations.len(), 1);
        let Operation::Write { offset: 0, data } = &operations[0] else { panic!() };
        assert_eq!(data.len(), 1 << 20);
    });
}

#[test]
fn a_client_that_asks_for_too_much_is_not_read_from() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 64 * MIB, None);
        let mut socket = sheep.raw_open("a").await;
        sheep.door().hold();
        let requests: Vec<u8> = (0..100).flat_map(|n| request(0, 0, n, 0, 4 << 20)).collect();
        socket.write_all(&requests).await.unwrap();
        sheep.until("requests are under way", || sheep.door().held() > 0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        // 7 times 4 MiB and 4 KiB fit 32 MiB; each is 4 parts.
        assert_eq!(sheep.door().held(), 28); // Q1, E1
        sheep.door().let_go();
        // Nothing is read by the client, so no more than the limit is ever carried out.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let carried = sheep.cluster.operations().len();
        assert!(carried <= 28 + 4 * 2, "{carried}");
        let mut bytes = vec![0; 16 + (4 << 20)];
        for _ in 0..100 {
            socket.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]);
        }
    });
}

#[test]
fn what_came_on_a_connection_that_is_closed_is_not_carried_out() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 64 * MIB, None);
        let new = sheep.open("a").await;
        let old = sheep.raw_open("a").await;
        // Sent and closed before the server gets a turn.
        let late = [request(1, 0, 2, 0, 3), b"old".to_vec()].concat();
        assert_eq!(old.try_write(&late).unwrap(), late.len());
        drop(old);
        new.write(0, b"new", false).await.unwrap();
        new.disconnect().await.unwrap();
        sheep.until("both are gone", || sheep.cluster.openers().holder(vid).is_none()).await;
        let is_write = |operation: &&Operation| matches!(operation, Operation::Write { .. });
        assert_eq!(sheep.cluster.operations().iter().filter(is_write).count(), 1); // E4
    });
}

#[test]
fn a_good_bye_is_found_behind_a_write_that_is_not_carried_out_any_more() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 64 * MIB, None);
        let mut socket = sheep.raw_open("a").await;
        socket.write_all(&request(1, 0, 1, 0, 80_000)).await.unwrap();
        socket.write_all(&[1; 40_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let rest = [vec![1; 40_000], request(3, 0, 2, 0, 0), request(2, 0, 3, 0, 0)].concat();
        assert_eq!(socket.try_write(&rest).unwrap(), rest.len());
        drop(socket);
        sheep.until("the VDI is free", || !sheep.cluster.is_attached(vid)).await; // P2
        assert!(sheep.cluster.operations().is_empty()); // E4
    });
}

#[test]
fn a_good_bye_is_obeyed_after_everything_before_it_was_answered() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 64 * MIB, None);
        let mut socket = sheep.raw_open("a").await;
        sheep.door().hold();
        let write = [request(1, 0, 1, 0, 3), b"abc".to_vec(), request(6, 2, 2, 0, 9 << 20)];
        socket.write_all(&[write.concat(), request(2, 0, 3, 0, 0)].concat()).await.unwrap();
        // libnbd stops sending after its good-bye, and goes on reading.
        socket.shutdown().await.unwrap();
        sheep.until("the requests are under way", || sheep.door().held() == 5).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(sheep.cluster.openers().holder(vid).is_some());
        sheep.door().let_go();
        assert_eq!(simple_reply(&mut socket).await, (1, 0)); // E2
        assert_eq!(simple_reply(&mut socket).await, (2, 0));
        assert_closed(&mut socket).await;
        assert!(!sheep.cluster.is_attached(vid), "free before the socket closes"); // P2
    });
}
