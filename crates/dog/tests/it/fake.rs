//! A fake sheep: answers the admin API from fixed tables and keeps VDI data in memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Serialize;
use sheepdog_client::admin::types::{
    Addresses, Class, Cluster, ClusterFormat, ClusterStatus, Copies, Disk, DiskState, ErrorCode,
    Failure, Holder, Node, NodeInfo, ObjectCopy, ObjectPlace, Recovery, Vdi, VdiCheck, VidHex,
    Warning,
};
use sheepdog_proto::Vid;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// Status and body.
pub(crate) type Answer = (u16, Vec<u8>);

/// What a fake sheep does with a request; `None` falls back to the fixed tables.
pub(crate) type Rule = Box<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;

pub(crate) struct Fake {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

pub(crate) fn json(status: u16, value: &impl Serialize) -> Answer {
    (status, serde_json::to_vec(value).unwrap())
}

pub(crate) fn failure(code: ErrorCode, message: &str) -> Answer {
    json(code.status(), &Failure { code, message: message.into(), hint: None, holder: None })
}

impl Fake {
    /// Serves until the test process ends.
    pub(crate) fn start(rule: Rule) -> Self {
        Self::start_at(TcpListener::bind("127.0.0.1:0").unwrap(), rule)
    }

    pub(crate) fn start_at(listener: TcpListener, rule: Rule) -> Self {
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (rule, log) = (Arc::new(rule), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (rule, log) = (rule.clone(), log.clone());
                thread::spawn(move || serve(&stream.unwrap(), port, &rule, &log));
            }
        });
        Self { port, asked }
    }

    /// The tables alone.
    pub(crate) fn herd() -> Self {
        Self::start(Box::new(|_| None))
    }

    /// Runs `dog` with `line`, split at spaces, against this sheep.
    pub(crate) fn dog(&self, line: &str) -> Output {
        self.dog_with(line, b"")
    }

    pub(crate) fn dog_with(&self, line: &str, stdin: &[u8]) -> Output {
        let port = self.port.to_string();
        let words = line.split(' ').map(|word| word.replace('%', " "));
        run(words.chain(["-p".into(), port]), stdin)
    }

    pub(crate) fn asked(&self, method: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.method == method).cloned().collect()
    }
}

/// Runs `dog`.
pub(crate) fn run(words: impl IntoIterator<Item = String>, stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dog"))
        .args(words)
        .env_remove("SHEEPDOG_DOG_ADDR")
        .env_remove("SHEEPDOG_DOG_PORT")
        .env_remove("COLUMNS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not want its input closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn serve(stream: &TcpStream, port: u16, rule: &Rule, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read_request(&mut reader) {
        log.lock().unwrap().push(asked.clone());
        let (status, body) = rule(&asked).unwrap_or_else(|| fixed(&asked, port));
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        if status != 204 {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut writer = stream;
        let sent = writer.write_all(format!("{head}\r\n").as_bytes());
        if sent.and_then(|()| writer.write_all(&body)).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header == "\r\n" {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, body })
}

fn fixed(asked: &Asked, port: u16) -> Answer {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/cluster") => json(200, &cluster()),
        ("GET", "/v1/nodes") => json(200, &nodes(port)),
        ("GET", "/v1/node") => json(200, &node_info(0)),
        ("GET", "/v1/node/disks") => json(200, &disks()),
        ("POST" | "DELETE", "/v1/node/disks") => (200, Vec::new()),
        ("GET", "/v1/vdis") => json(200, &vdis()),
        ("GET", "/v1/vdis/disk") | ("POST", "/v1/vdis/disk/resize") => json(200, &vdis()[1]),
        ("GET", "/v1/vdis/disk/objects/1") => json(200, &place()),
        ("POST", path) if path.starts_with("/v1/vdis/disk/check") => json(200, &check()),
        ("POST", "/v1/vdis") => json(201, &vdis()[1]),
        ("POST", "/v1/cluster/format") => json(200, &cluster()),
        ("POST", "/v1/cluster/shutdown") => (202, Vec::new()),
        ("POST", path) if path.starts_with("/v1/vdis/disk/unlock") => (204, Vec::new()),
        ("DELETE", "/v1/vdis/disk") | ("POST", "/v1/vdis/disk/release") => (204, Vec::new()),
        _ => failure(ErrorCode::NotFound, "no such VDI"),
    }
}

fn check() -> VdiCheck {
    VdiCheck { objects: 2, bytes: 8 << 20, bad: 1, healed: 1, ..VdiCheck::default() }
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        status: ClusterStatus::Running,
        format: Some(ClusterFormat {
            cluster: "00112233445566778899aabbccddeeff".into(),
            created_ms: 1_795_425_186_123,
            copies: Copies::Auto,
            object_shift: 22,
            partitions: 1024,
        }),
        nodes_up: 2,
        nodes_known: 3,
        classes: vec![Class {
            policy: 0,
            copies: Copies::Auto,
            copies_placed: 3,
            total: 1024,
            clean: 0,
            moving: 0,
            degraded: 1024,
            waiting: 0,
            unavailable: 0,
        }],
        log_index: 57,
        warnings: vec![Warning {
            message: "node 2 (127.0.0.1:7020) is down".into(),
            action: "Start it again, or replace it.".into(),
        }],
    }
}

/// Node 0 answers itself, node 1 is up but nobody is there, node 2 is down.
pub(crate) fn nodes(port: u16) -> Vec<Node> {
    let node = |node: u16, up: bool, admin: String| Node {
        node,
        uuid: format!("{node:032x}"),
        zone: u32::from(node),
        weight: 128,
        up,
        out: false,
        incarnation: u64::from(node) + 1,
        addresses: Addresses {
            peer: format!("127.0.0.1:70{node}1"),
            legacy: format!("127.0.0.1:70{node}0"),
            nbd: String::new(),
            admin,
        },
        this: node == 0,
    };
    // Nothing can listen on port 1 of this address: the third of the loopback network.
    vec![
        node(0, true, format!("127.0.0.1:{port}")),
        node(1, true, "127.3.3.3:1".into()),
        node(2, false, "127.3.3.3:2".into()),
    ]
}

pub(crate) fn node_info(node: u16) -> NodeInfo {
    NodeInfo {
        node,
        version: "0.1.0".into(),
        shards: 2,
        size: 73_921_261_568,
        used: 8 << 20,
        available: 73_921_261_568 - (8 << 20),
        objects: BTreeMap::from([(vid(0x1e_c8c), 2), (vid(0xdc_9aad), 5)]),
        troubles: Vec::new(),
        recovery: Recovery {
            groups_waiting: 3,
            groups_joining: 17,
            groups_done: 1004,
            objects_accepted: 90_000,
            objects_compared: 12,
            objects_dropped: 1,
            bytes_fetched: 5 << 20,
            seconds_left: Some(150),
        },
    }
}

fn disks() -> Vec<Disk> {
    let disk = |id: u8, path: &str, buckets: u32| Disk {
        id,
        path: path.into(),
        uuid: format!("{:032x}", 0xd15c_0000 + u32::from(id)),
        size: 40 << 30,
        used: 10 << 30,
        available: 30 << 30,
        weight: 42 << 30,
        buckets,
        moving: 0,
        state: DiskState::Ok,
        reason: None,
    };
    let reason = Some("write wal/0001: Input/output error (os error 5)".to_owned());
    vec![
        disk(0, "/srv/disk1", 100),
        Disk { moving: 40, ..disk(1, "/srv/disk two", 60) },
        Disk { moving: 90, state: DiskState::Leaving, ..disk(2, "/srv/disk3", 90) },
        Disk {
            state: DiskState::Failed,
            size: 0,
            used: 0,
            available: 0,
            reason,
            ..disk(4, "/srv/disk5", 6)
        },
    ]
}

pub(crate) fn vid(number: u32) -> VidHex {
    VidHex(Vid::new(number).unwrap())
}

pub(crate) fn vdis() -> Vec<Vdi> {
    let vdi = |name: &str, number: u32, size: u64| Vdi {
        vid: vid(number),
        name: name.into(),
        tag: String::new(),
        snap_id: 1,
        snapshot_ms: None,
        size,
        object_shift: 22,
        copies: Copies::Auto,
        copies_placed: 3,
        created_ms: 1_795_426_194_000,
        parent: None,
        attachment: None,
    };
    let mut open = vdi("disk", 0x1e_c8c, 1 << 30);
    open.attachment =
        Some(Holder { node: 1, admin: "x:1".into(), since_ms: 1_795_426_194_000, generation: 4 });
    vec![vdi("a long name\\", 0xdc_9aad, 67_108_864), open]
}

fn place() -> ObjectPlace {
    ObjectPlace {
        oid: "0001ec8c00000001".into(),
        index: 1,
        allocated: true,
        group: "0.1f".into(),
        view: 12,
        targets: vec![1, 0, 2],
        in_sync: vec![1, 0],
        copies: vec![
            ObjectCopy { node: 1, held: Some(true) },
            ObjectCopy { node: 0, held: Some(true) },
            ObjectCopy { node: 2, held: None },
        ],
    }
}
