//! NBD against QEMU's tools and libnbd.

use std::fs;

use crate::server::Server;
use crate::tool::{QemuIo, fails, ok};

const MIB: u64 = 1 << 20;

/// Data here and there, zeros between, and an end that is no multiple of a block.
fn image(len: u64) -> Vec<u8> {
    let mut state = 7_u64;
    let mut bytes = vec![0; len as usize];
    for (index, piece) in bytes.chunks_mut(1_300_000).enumerate() {
        if index % 5 < 2 {
            for byte in piece {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        }
    }
    bytes
}

#[test]
fn qemu_img_copies_compares_and_describes() {
    let server = Server::start();
    let size = 61 * MIB + 512;
    fs::write(server.file("source"), image(size)).unwrap();
    for (name, unix) in [("over-unix", true), ("over-tcp", false)] {
        let vid = server.cluster.create(name, size, None);
        let uri = if unix { server.unix_uri(name) } else { server.tcp_uri(name) };
        let (source, copy) = (server.file("source"), server.file("copy"));
        ok("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &source, &uri]);
        server.until_free(vid); // QEMU does not wait for the answer to its good-bye.
        let same = ok("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri]);
        assert!(same.contains("Images are identical"), "{same}");
        ok("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &copy]);
        assert!(fs::read(&copy).unwrap() == fs::read(&source).unwrap(), "the copy differs");
        let info = ok("qemu-img", &["info", "--output=json", "-f", "raw", &uri]);
        assert!(info.contains(&format!("\"virtual-size\": {size}")), "{info}");
        let holes = size / (4 * MIB) + 1 - server.cluster.allocated(vid).len() as u64;
        assert!(holes > 0, "zeros were not kept as holes");
    }
}

#[test]
fn qemu_img_maps_what_is_allocated() {
    let server = Server::start();
    server.cluster.create("sparse", 32 * MIB, None);
    let uri = server.unix_uri("sparse");
    ok("qemu-io", &["-f", "raw", "-c", "write -P 1 9M 2M", "-c", "write -z 20M 4M", &uri]);
    let map = ok("qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    let runs: Vec<(u64, u64, bool)> = map.lines().map(run_of).collect();
    // Written with NO_HOLE, so the zeros use space; other tools see them as data.
    let wanted = [
        (0, 8 * MIB, true),
        (8 * MIB, 4 * MIB, false),
        (12 * MIB, 8 * MIB, true),
        (20 * MIB, 4 * MIB, false),
        (24 * MIB, 8 * MIB, true),
    ];
    assert_eq!(runs, wanted, "{map}");
    ok("qemu-io", &["-f", "raw", "-c", "discard 8M 4M", "-c", "write -z -u 20M 4M", &uri]);
    let map = ok("qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    assert_eq!(map.lines().map(run_of).collect::<Vec<_>>(), [(0, 32 * MIB, true)], "{map}");
}

/// Start, length, and whether it is zero, of one line of `qemu-img map`.
fn run_of(line: &str) -> (u64, u64, bool) {
    let field = |name: &str| {
        let rest = &line[line.find(&format!("\"{name}\": ")).unwrap() + name.len() + 4..];
        rest[..rest.find([',', '}']).unwrap()].to_owned()
    };
    let number = |name: &str| field(name).parse().unwrap();
    (number("start"), number("length"), field("zero") == "true")
}

#[test]
fn qemu_io_reads_writes_discards_and_zeroes() {
    let server = Server::start();
    server.cluster.create("disk", 64 * MIB, None);
    for uri in [server.unix_uri("disk"), server.tcp_uri("disk")] {
        let commands = [
            "write -P 0xa1 0 64k",
            "read -P 0xa1 0 64k",
            "write -P 0xa2 511 1025",
            "read -P 0xa1 0 511",
            "read -P 0xa2 511 1025",
            "read -P 0xa1 1536 512",
            "write -f -P 0xa3 3M 2M",
            "read -P 0xa3 3M 2M",
            "write -z 3M 100k",
            "read -P 0 3M 100k",
            "read -P 0xa3 3172k 1948k",
            "write -z -u 4M 1M",
            "read -P 0 4M 1M",
            "discard 0 8M",
            "read -P 0 0 8M",
            "writev -P 0xa4 60M 4k 64k 1M",
            "readv -P 0xa4 60M 4k 64k 1M",
            "aio_write -P 0xb0 16M 1M",
            "aio_write -P 0xb1 17M 1M",
            "aio_write -P 0xb2 18M 4k",
            "aio_write -z 19M 1M",
            "aio_flush",
            "read -P 0xb0 16M 1M",
            "read -P 0xb1 17M 1M",
            "read -P 0xb2 18M 4k",
            "read -P 0 19M 1M",
            "write -P 0xc0 30M 33M",
            "read -P 0xc0 30M 33M",
            "flush",
        ];
        let mut arguments = vec!["-f", "raw", "-n"];
        commands.iter().for_each(|command| arguments.extend(["-c", command]));
        arguments.push(&uri);
        let said = ok("qemu-io", &arguments);
        assert!(!said.contains("failed"), "{said}");
        let read = commands.iter().filter(|c| c.starts_with("read")).count();
        assert_eq!(said.matches("\nread ").count() + usize::from(said.starts_with("read ")), read);
    }
}

#[test]
fn a_disk_whose_size_is_odd_is_readable_to_its_last_byte() {
    let server = Server::start();
    let size = 5 * MIB + 1;
    server.cluster.create("odd", size, None);
    let info = ok("nbdinfo", &["--size", &server.unix_uri("odd")]);
    assert_eq!(info.trim(), size.to_string());
    let source = server.file("source");
    let copy = server.file("copy");
    fs::write(&source, image(size)).unwrap();
    ok("nbdcopy", &[&source, &server.unix_uri("odd")]);
    ok("nbdcopy", &[&server.tcp_uri("odd"), &copy]);
    assert!(fs::read(&copy).unwrap() == fs::read(&source).unwrap(), "the copy differs");
}

#[test]
fn qemu_nbd_and_nbdinfo_list_every_vdi() {
    let server = Server::start();
    for (name, size) in [("alpha", MIB), ("beta", 7 * MIB), ("gamma", 1 << 40)] {
        server.cluster.create(name, size, None);
    }
    let socket = server.socket.display().to_string();
    let port = server.port.to_string();
    for arguments in [vec!["--list", "-k", &socket], vec!["--list", "-b", "127.0.0.1", "-p", &port]]
    {
        let said = ok("qemu-nbd", &arguments);
        for text in
            ["exports available: 3", "'alpha'", "'gamma'", "1099511627776", "base:allocation"]
        {
            assert!(said.contains(text), "{text}: {said}");
        }
        assert!(said.contains("min block: 1") && said.contains("max block: 33554432"), "{said}");
        assert_eq!(said.contains("multi"), arguments.contains(&"-k"), "{said}");
    }
    let said = ok("nbdinfo", &["--list", "--json", &server.unix_uri("")]);
    assert!(said.contains("\"beta\"") && said.contains("\"export-size\": 7340032"), "{said}");
}

#[test]
fn nbdinfo_sees_what_is_announced_and_what_is_allocated() {
    let server = Server::start();
    server.cluster.create("disk", 16 * MIB, None);
    let uri = server.unix_uri("disk");
    let said = ok("nbdinfo", &["--json", &uri]);
    let announced = [
        "\"protocol\": \"newstyle-fixed\"",
        "\"structured\": true",
        "\"is_read_only\": false",
        "\"can_df\": true",
        "\"can_fast_zero\": false",
        "\"can_flush\": true",
        "\"can_fua\": true",
        "\"can_multi_conn\": true",
        "\"can_trim\": true",
        "\"can_zero\": true",
        "\"block_size_minimum\": 1",
        "\"block_size_preferred\": 4096",
        "\"block_size_maximum\": 33554432",
    ];
    for text in announced {
        assert!(said.contains(text), "{text}: {said}");
    }
    ok("qemu-io", &["-f", "raw", "-c", "write -P 9 4M 4M", &uri]);
    let map = ok("nbdinfo", &["--map", &uri]);
    let runs: Vec<Vec<&str>> =
        map.lines().map(|l| l.split_whitespace().take(3).collect()).collect();
    assert_eq!(
        runs,
        [["0", "4194304", "3"], ["4194304", "4194304", "0"], ["8388608", "8388608", "3"]]
    );
    fails("nbdinfo", &[&server.unix_uri("nothing")]);
    let said = fails("qemu-img", &["info", "-f", "raw", &server.unix_uri("nothing")]);
    assert!(said.contains("no VDI is named 'nothing'"), "{said}");
}

#[test]
fn nbdcopy_with_several_connections_copies_there_and_back() {
    let server = Server::start();
    let size = 96 * MIB;
    let (source, copy) = (server.file("source"), server.file("copy"));
    fs::write(&source, image(size)).unwrap();
    let vid = server.cluster.create("disk", size, None);
    let uri = server.unix_uri("disk");
    let many = ["--connections=4", "--threads=2", "--requests=32", "--flush"];
    ok("nbdcopy", &[&many[..], &[&source, &uri]].concat());
    server.until_free(vid);
    ok("nbdcopy", &[&many[..], &[&uri, &copy]].concat());
    assert!(fs::read(&copy).unwrap() == fs::read(&source).unwrap(), "the copy differs");
    // Zeros that use space, over what was there.
    fs::write(&source, vec![0; size as usize]).unwrap();
    ok("nbdcopy", &["--allocated", &source, &uri]);
    assert_eq!(server.cluster.allocated(vid).len() as u64, size / (4 * MIB));
    ok("nbdcopy", &[&uri, &copy]);
    assert!(fs::read(&copy).unwrap() == fs::read(&source).unwrap(), "the zeros differ");
}

#[test]
fn a_second_client_is_told_who_holds_the_vdi_and_may_have_it_when_that_one_is_killed() {
    let server = Server::start();
    server.cluster.create("disk", 8 * MIB, None);
    let uri = server.unix_uri("disk");
    let mut holder = QemuIo::start(&["-f", "raw", &uri]);
    holder.send("write -P 1 0 4k");
    holder.expect("wrote 4096/4096");
    let held = format!("locked by process {} through NBD since", holder.pid());
    let said = fails("qemu-io", &["-f", "raw", "-c", "read 0 4k", &uri]);
    assert!(said.contains(&held), "{held}: {said}");
    // libnbd keeps the server's text to itself.
    let said = fails("nbdinfo", &["--map", &uri]);
    assert!(said.contains("server policy"), "{said}");
    holder.kill();
    let said = ok("qemu-io", &["-f", "raw", "-c", "read -P 1 0 4k", &uri]);
    assert!(said.contains("read 4096/4096"), "{said}");
}

#[test]
fn a_client_that_reconnects_goes_on_after_the_sheep_was_killed() {
    let mut server = Server::start();
    server.cluster.create("disk", 8 * MIB, None);
    let path = server.socket.display();
    let options =
        format!("driver=nbd,server.type=unix,server.path={path},export=disk,reconnect-delay=30");
    let mut client = QemuIo::start(&["--image-opts", &options]);
    client.send("write -P 1 0 4k");
    client.expect("wrote 4096/4096");
    for round in 2..5 {
        server.restart();
        // The request finds the connection broken, and waits for the new one.
        client.send(&format!("write -P {round} {round}M 4k"));
        client.expect("wrote 4096/4096");
        client.send("read -P 1 0 4k");
        client.expect("read 4096/4096");
    }
    client.send("quit");
}
