//! Wrong command lines, refusals and unreachable sheep: exit codes and what is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use sheepdog_client::admin::types::{ErrorCode, FormatRequest, NewVdi};

use crate::fake::{Fake, cluster, failure, json, run};

fn words(line: &str) -> Vec<String> {
    line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_wrong_command_line_is_exit_64_and_says_what_would_be_right() {
    let long = "n".repeat(256);
    let table: &[(&str, &str)] = &[
        ("vdi", "Commands:"),
        ("node", "Commands:"),
        ("frobnicate", "unrecognized subcommand"),
        ("vdi frobnicate", "unrecognized subcommand"),
        ("-p 7600 cluster info", "unexpected argument '-p'"),
        ("vdi create", "<NAME>"),
        ("vdi create disk", "<SIZE>"),
        ("vdi create disk 1Q", "such as 512M or 1.5G"),
        ("vdi create disk -5", "such as 512M or 1.5G"),
        ("vdi create disk 9999P", "largest size"),
        ("vdi create disk 1G -c 0", "from 1 to 8, or auto"),
        ("vdi create disk 1G -c 9", "from 1 to 8, or auto"),
        ("vdi create disk 1G -c 2:1", "erasure coding (x:y) is not offered"),
        ("vdi create disk 1G -z 19", "22 (4 MiB)"),
        ("vdi create disk 1G -z 4M", "22 (4 MiB)"),
        ("vdi create disk 1G -y", "unexpected argument '-y'"),
        ("vdi list -r --json", "cannot be used with"),
        ("vdi list -p 0", "0 is not in 1..=65535"),
        ("vdi list -p 65536", "65536"),
        ("vdi list -p x", "invalid digit"),
        ("vdi list -a 1:2", "port with -p"),
        ("vdi list -a unix:", "path of a socket"),
        ("vdi list -a a/b", "a host, an address, or unix:PATH"),
        ("vdi read", "<NAME>"),
        ("vdi read disk x", "such as 512M"),
        ("vdi write disk 0 -1", "such as 512M"),
        ("vdi object location disk", "--index <INDEX>"),
        ("vdi object location disk -i -1", "-1"),
        ("vdi delete disk -s snap", "unexpected argument '-s'"),
        ("cluster format -c x", "from 1 to 8, or auto"),
        ("cluster format --partition-bits 15", "0..=14"),
        ("playground --sabotage", "--check"),
        ("playground --port 65001", "65001"),
    ];
    for (line, hint) in table {
        let output = run(words(line), b"");
        assert_eq!(output.status.code(), Some(64), "dog {line}");
        let told = text(&output.stderr);
        assert!(told.contains(hint), "dog {line}: {told}");
        assert!(output.stdout.is_empty(), "dog {line}");
    }
    for name in [&long, ""] {
        let words = ["vdi", "delete", name].map(str::to_owned);
        let output = run(words, b"");
        assert_eq!(output.status.code(), Some(64));
        assert!(text(&output.stderr).contains("a VDI name has"));
    }
}

#[test]
fn dog_alone_and_help_are_successes_on_stdout() {
    for line in ["", "help", "--help", "-h", "help vdi", "vdi -h", "vdi create --help", "--version"]
    {
        let output = run(words(line), b"");
        assert_eq!(output.status.code(), Some(0), "dog {line}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "dog {line}");
    }
}

#[test]
fn options_may_stand_behind_the_arguments_as_libvirt_writes_them() {
    let fake = Fake::herd();
    let port = fake.port;
    let table = [
        format!("node info -r -a localhost -p {port}"),
        format!("vdi list -r -a 127.0.0.1 -p {port}"),
        format!("vdi list disk -r -a 127.0.0.1 -p {port}"),
        format!("vdi create disk 67108864 -a 127.0.0.1 -p {port}"),
        format!("vdi resize disk 1073741824 -a 127.0.0.1 -p {port}"),
        format!("vdi delete disk -a 127.0.0.1 -p {port}"),
    ];
    for line in table {
        let output = run(words(&line), b"");
        assert_eq!(output.status.code(), Some(0), "dog {line}: {output:?}");
    }
    let create: NewVdi = serde_json::from_slice(&fake.asked("POST")[0].body).unwrap();
    assert_eq!((create.name.as_str(), create.size, create.copies), ("disk", 67_108_864, None));
}

#[test]
fn the_environment_names_the_sheep() {
    let fake = Fake::herd();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dog"))
        .args(["node", "list", "-r"])
        .env("SHEEPDOG_DOG_ADDR", "127.0.0.1")
        .env("SHEEPDOG_DOG_PORT", fake.port.to_string())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "0 127.0.0.1:7000 128 0\n1 127.0.0.1:7010 128 1\n");
}

#[test]
fn nobody_there_and_strangers_are_exit_2() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = run(words(&format!("vdi list -p {free}")), b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Is a sheep running there?"));
    let output = run(words("cluster info -a unix:/nonexistent/admin.sock"), b"");
    assert_eq!(output.status.code(), Some(2));
}

/// A client port of the first protocol: answers any 48 bytes with a header of its own.
fn client_port(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut header = [0; 48];
            let _ = stream.read_exact(&mut header);
            let mut answer = [0_u8; 48];
            answer[1] = header[1];
            answer[16] = 0x14;
            let _ = stream.write_all(&answer);
        }
    });
}

#[test]
fn a_client_port_leads_to_the_admin_port_beside_it() {
    // Two ports at the default distance, both free at this moment.
    let (client, admin) = (0..200)
        .find_map(|_| {
            let client = TcpListener::bind("127.0.0.1:0").ok()?;
            let port = client.local_addr().ok()?.port().checked_add(2)?;
            Some((client, TcpListener::bind(("127.0.0.1", port)).ok()?))
        })
        .unwrap();
    let port = client.local_addr().unwrap().port();
    client_port(client);
    let _fake = Fake::start_at(admin, Box::new(|_| None));
    let output = run(words(&format!("node list -r -p {port}")), b"");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with("0 127.0.0.1:7000 128 0\n"));

    let alone = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = alone.local_addr().unwrap().port();
    client_port(alone);
    let output = run(words(&format!("node list -r -p {port}")), b"");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("does not speak the admin API"), "{output:?}");
}

#[test]
fn formatting_a_cluster_that_is_not_empty_asks_first() {
    let rule = |asked: &crate::fake::Asked| {
        let format = asked.path == "/v1/cluster/format";
        format.then(|| {
            let request: FormatRequest = serde_json::from_slice(&asked.body).unwrap();
            if request.force {
                return json(200, &cluster());
            }
            failure(ErrorCode::NotEmpty, "the cluster has 2 VDIs")
        })
    };
    for (line, stdin, code, posts) in [
        ("cluster format", "no\n", 1, 1),
        ("cluster format", "", 1, 1),
        ("cluster format", "yes\n", 0, 2),
        ("cluster format", "YES\n", 0, 2),
        ("cluster format -f", "", 0, 1),
        ("cluster format --yes", "", 0, 1),
        ("cluster format --force", "", 0, 1),
    ] {
        let fake = Fake::start(Box::new(rule));
        let output = fake.dog_with(line, stdin.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{line} {stdin}");
        assert_eq!(fake.asked("POST").len(), posts, "{line} {stdin}");
        let asked = text(&output.stderr).contains("[yes/no]");
        assert_eq!(asked, !line.contains('-'), "{line} {stdin}");
    }
}

#[test]
fn a_refusal_is_exit_1_with_a_hint_and_a_smaller_size_is_exit_64() {
    let table = [
        (ErrorCode::Exists, "vdi create disk 1G", 1, "another name"),
        (ErrorCode::NotFormatted, "vdi create disk 1G", 1, "dog cluster format"),
        (ErrorCode::TooFewZones, "vdi create disk 1G -c 3", 1, "fewer copies"),
        (ErrorCode::Locked, "vdi delete disk", 1, "Close it"),
        (ErrorCode::Shrink, "vdi resize disk 1", 64, "cannot resize VDI 'disk'"),
        (ErrorCode::AlreadyFormatted, "cluster format", 1, "no luck"),
        (ErrorCode::Internal, "cluster shutdown", 1, "no luck"),
        (ErrorCode::Unavailable, "vdi list", 1, "dog cluster info"),
    ];
    for (code, line, exit, hint) in table {
        let fake = Fake::start(Box::new(move |asked| {
            (asked.path != "/v1/cluster").then(|| failure(code, "no luck"))
        }));
        let output = fake.dog(line);
        assert_eq!(output.status.code(), Some(exit), "{line}: {output:?}");
        let told = text(&output.stderr);
        assert!(told.contains("no luck") && told.contains(hint), "{line}: {told}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn listing_an_unformatted_cluster_is_a_failure_but_its_state_can_be_seen() {
    let fake = Fake::start(Box::new(|asked| {
        (asked.path == "/v1/cluster").then(|| {
            let mut cluster = cluster();
            cluster.status = sheepdog_client::admin::types::ClusterStatus::WaitingForFormat;
            cluster.format = None;
            cluster.classes.clear();
            cluster.warnings.clear();
            json(200, &cluster)
        })
    }));
    let output = fake.dog("vdi list");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("dog cluster format"));
    let output = fake.dog("cluster info -r");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "Waiting for cluster to be formatted\n");
}
