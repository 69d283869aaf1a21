//! Who may open what, and what is left when a client ends.

use std::time::Instant;

use sheepdog_client::nbd::info;

use super::*;

const POLICY: u32 = (1 << 31) + 2;
const GRACE: Duration = Duration::from_secs(10);

#[test]
fn connections_of_one_process_share_an_export_over_a_unix_socket() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 4 * MIB, None);
        let first = sheep.open("a").await;
        let second = sheep.open("a").await;
        assert!(first.export().multi_conn() && second.export().multi_conn());
        first.write(0, b"seen", false).await.unwrap();
        assert_eq!(second.read(0, 4).await.unwrap(), b"seen");
        first.disconnect().await.unwrap();
        assert!(sheep.cluster.is_attached(vid), "the second connection lives");
        second.write(0, b"more", false).await.unwrap();
        second.disconnect().await.unwrap();
        assert!(!sheep.cluster.is_attached(vid)); // P2
    });
}

#[test]
fn over_tcp_an_export_has_one_connection_and_a_refusal_names_the_holder() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 4 * MIB, None);
        let first = Connection::open(&sheep.tcp, "a", Options::default()).await.unwrap();
        assert!(!first.export().multi_conn());
        for endpoint in [&sheep.tcp, &sheep.unix] {
            let (code, text) = refused(endpoint, "a").await; // X1
            assert_eq!(code, POLICY);
            assert!(text.contains("locked by 127.0.0.1 through NBD since 20"), "{text}");
        }
        // Asking about it is not opening it.
        assert_eq!(info(&sheep.unix, "a").await.unwrap().size, 4 * MIB);
        first.disconnect().await.unwrap();
        assert!(!sheep.cluster.is_attached(vid));
        let second = Connection::open(&sheep.tcp, "a", Options::default()).await.unwrap();
        second.write(0, b"x", false).await.unwrap();
    });
}

#[test]
fn a_new_client_waits_a_moment_for_the_old_one_to_go() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4 * MIB, None);
        let first = Connection::open(&sheep.tcp, "a", Options::default()).await.unwrap();
        let endpoint = sheep.unix.clone();
        let options = Options::default();
        let second = spawn_local(async move { Connection::open(&endpoint, "a", options).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!second.is_finished());
        drop(first);
        let second = second.await.unwrap().unwrap();
        second.write(0, b"x", true).await.unwrap();
    });
}

#[test]
fn an_abrupt_end_leaves_the_vdi_to_the_idle_rule() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 4 * MIB, None);
        let disk = sheep.open("a").await;
        disk.write(0, b"x", false).await.unwrap();
        drop(disk);
        sheep.until("the end is seen", || sheep.cluster.openers().holder(vid).is_none()).await;
        assert!(sheep.cluster.is_attached(vid)); // X2
        assert!(sheep.cluster.openers().take_idle(Instant::now(), GRACE).is_empty());
        // Whoever comes in time goes on with it.
        let again = sheep.open("a").await;
        let later = Instant::now() + 2 * GRACE;
        assert!(sheep.cluster.openers().take_idle(later, GRACE).is_empty());
        drop(again);
        sheep.until("the end is seen", || sheep.cluster.openers().holder(vid).is_none()).await;
        assert_eq!(sheep.cluster.openers().take_idle(later, GRACE), [vid]);
    });
}

#[test]
fn a_client_that_dies_while_the_cluster_waits_makes_room() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 64 * MIB, None);
        sheep.door().hold();
        for (endpoint, held) in [(&sheep.unix, 28), (&sheep.tcp, 56)] {
            let disk = Connection::open(endpoint, "a", Options::default()).await.unwrap();
            // More than the limit, so that the server has stopped reading when the client dies.
            let reads = (0..12_u64).map(|n| {
                let disk = disk.clone();
                spawn_local(async move { disk.read(n * 4 * MIB, 4 << 20).await })
            });
            let reads: Vec<_> = reads.collect();
            sheep.until("reads are under way", || sheep.door().held() == held).await;
            reads.iter().for_each(|read| read.abort());
            drop(disk);
            drop(reads);
            sheep.until("the end is seen", || sheep.cluster.openers().holder(vid).is_none()).await;
        }
        sheep.door().let_go();
        sheep.open("a").await.flush().await.unwrap();
    });
}

#[test]
fn a_vdi_of_another_sheep_is_refused_with_its_owner_and_taken_when_free() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 4 * MIB, None);
        sheep.cluster.attach_elsewhere(vid);
        let (code, text) = refused(&sheep.unix, "a").await;
        assert_eq!(code, POLICY);
        let wanted = "locked by node 1 (127.0.0.1:8002) since 2023-11-14 22:13:20 UTC";
        assert!(text.contains(wanted), "{text}");
        assert!(sheep.cluster.openers().holder(vid).is_none());
        let endpoint = sheep.unix.clone();
        let options = Options::default();
        let opening = spawn_local(async move { Connection::open(&endpoint, "a", options).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        sheep.cluster.free(vid);
        opening.await.unwrap().unwrap().write(0, b"x", false).await.unwrap();
    });
}

#[test]
fn a_connection_goes_to_the_shard_of_its_vdi() {
    run(async {
        let sheep = Sheep::start(3).await;
        let names: Vec<String> = (0..30).map(|n| format!("{n}disk")).collect();
        let mut shards = std::collections::BTreeSet::new();
        for name in &names {
            let vid = sheep.cluster.create(name, 4 * MIB, None);
            shards.insert(sheep.door().shard_of(vid));
            for (endpoint, structured) in [(&sheep.unix, true), (&sheep.tcp, false)] {
                let options = Options { structured, allocation: structured };
                let disk = Connection::open(endpoint, name, options).await.unwrap();
                assert_eq!(disk.export().allocation, structured);
                disk.write(5, name.as_bytes(), false).await.unwrap();
                assert_eq!(disk.read(5, name.len() as u32).await.unwrap(), name.as_bytes());
                assert_eq!(disk.block_status(0, 4096, false).await.is_ok(), structured);
                disk.disconnect().await.unwrap();
                assert!(!sheep.cluster.is_attached(vid));
            }
            let mut socket = sheep.raw_open(name).await;
            socket.write_all(&request(3, 0, 5, 0, 0)).await.unwrap();
            assert_eq!(simple_reply(&mut socket).await, (5, 0));
        }
        assert_eq!(shards.len(), 3, "the names reach every shard");
    });
}

#[test]
fn a_refusal_on_another_shard_leaves_the_negotiation_open() {
    run(async {
        let sheep = Sheep::start(2).await;
        let names: Vec<String> = (0..8).map(|n| format!("disk{n}")).collect();
        for name in &names {
            let vid = sheep.cluster.create(name, 4 * MIB, None);
            sheep.cluster.attach_elsewhere(vid);
        }
        let mut socket = sheep.raw().await;
        socket.read_exact(&mut [0; 18]).await.unwrap();
        socket.write_all(&3_u32.to_be_bytes()).await.unwrap();
        for name in &names[..3] {
            let len = (name.len() as u32).to_be_bytes();
            let data = [&len[..], name.as_bytes(), &[0, 0]].concat();
            socket.write_all(&option(7, &data)).await.unwrap();
            socket.read_exact(&mut [0; 12]).await.unwrap();
            assert_eq!(socket.read_u32().await.unwrap(), POLICY);
            let len = socket.read_u32().await.unwrap();
            socket.read_exact(&mut vec![0; len as usize]).await.unwrap();
        }
        socket.write_all(&option(2, &[])).await.unwrap();
        socket.read_exact(&mut [0; 20]).await.unwrap();
        assert_closed(&mut socket).await;
    });
}

#[test]
fn a_client_that_dies_while_it_waits_for_the_attachment_makes_room() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 4 * MIB, None);
        sheep.cluster.hold_attach(true);
        let mut socket = sheep.raw().await;
        socket.read_exact(&mut [0; 18]).await.unwrap();
        socket.write_all(&3_u32.to_be_bytes()).await.unwrap();
        socket.write_all(&option(1, b"a")).await.unwrap();
        sheep
            .until("the VDI is being opened", || sheep.cluster.openers().holder(vid).is_some())
            .await;
        drop(socket);
        sheep.until("the end is seen", || sheep.cluster.openers().holder(vid).is_none()).await;
        sheep.cluster.hold_attach(false);
        Connection::open(&sheep.tcp, "a", Options::default()).await.unwrap();
    });
}

#[test]
fn in_the_next_life_of_a_killed_sheep_a_client_opens_its_vdi_at_once() {
    run(async {
        let mut sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("a", 4 * MIB, None);
        let before = sheep.raw_open("a").await;
        sheep.open("a").await.write(0, b"kept", false).await.unwrap();
        let (cluster, _mailboxes) = sheep.cluster.reborn();
        assert!(!cluster.is_attached(vid));
        let listener = UnixListener::bind(sheep.path.with_extension("next")).unwrap();
        sheep.path = sheep.path.with_extension("next");
        let door = cluster.door(0);
        spawn_local(async move {
            let socket = listener.accept().await.unwrap().0.into_std().unwrap();
            serve(door, Socket::Unix(socket)).await;
        });
        let mut socket = sheep.raw_open("a").await;
        socket.write_all(&request(0, 0, 1, 0, 4)).await.unwrap();
        assert_eq!(simple_reply(&mut socket).await, (1, 0));
        let mut bytes = [0; 4];
        socket.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"kept");
        drop(before);
    });
}
