use super::*;
use proptest::prelude::*;

fn samples() -> Vec<Command> {
    let vid = Vid::new(0x6a_5e16).unwrap();
    let pg = PgId { policy: PolicyId(1), partition: Partition(77) };
    vec![
        Command::Format {
            cluster: 7,
            time_ns: 8,
            partition_bits: 9,
            object_shift: 22,
            copies: Copies::Auto,
        },
        Command::Join {
            uuid: 1 << 100,
            zone: 2,
            weight: 3,
            shards: 4,
            addresses: Addresses { peer: "127.0.0.1:7001".into(), ..Addresses::default() },
        },
        Command::Gone { node: NodeId(1), incarnation: Incarnation(2) },
        Command::Act { groups: vec![(pg, View(5)), (pg, View(6))] },
        Command::Attach { vid, node: NodeId(3), incarnation: Incarnation(9), time_ns: 1 },
        Command::Detach { vid, generation: Generation(4) },
        Command::CreateVdi {
            name: "vm0".into(),
            size: 1 << 40,
            copies: Some(Copies::Exactly(2)),
            object_shift: None,
            time_ns: 5,
        },
        Command::DeleteVdi { vid },
        Command::ResizeVdi { vid, size: 3 },
        Command::Shutdown { time_ns: 6 },
        Command::Ended { uuid: 1 << 99 },
        Command::Demote { node: NodeId(1), incarnation: Incarnation(2), groups: vec![pg, pg] },
        Command::Joining { node: NodeId(2), incarnation: Incarnation(3), groups: vec![pg] },
        Command::InSync {
            node: NodeId(2),
            incarnation: Incarnation(3),
            groups: vec![(pg, View(5)), (pg, View(6))],
        },
        Command::Silent {
            node: NodeId(1),
            incarnation: Incarnation(2),
            other: NodeId(3),
            other_incarnation: Incarnation(4),
            is_silent: true,
        },
        Command::Out { node: NodeId(1), incarnation: Incarnation(2) },
        Command::Rest { node: NodeId(1), incarnation: Incarnation(2), groups: vec![pg] },
    ]
}

#[test]
fn every_command_comes_back_from_its_bytes() {
    for command in samples() {
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

#[test]
fn a_cut_or_extended_command_is_refused() {
    for command in samples() {
        let bytes = command.encode();
        for end in 0..bytes.len() {
            assert!(Command::decode(&bytes[..end]).is_err(), "{command:?} cut at {end}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(Command::decode(&longer), Err(WireError::Invalid("trailing bytes")));
    }
}

#[test]
fn another_version_or_kind_is_named() {
    assert_eq!(Command::decode(&[2, 0, 1, 0]), Err(WireError::Version(2)));
    assert_eq!(Command::decode(&[1, 0, 99, 0]), Err(WireError::Version(99)));
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>, kind in 0..17_u16) {
        let _ = Command::decode(&bytes);
        let mut framed = COMMAND_VERSION.to_le_bytes().to_vec();
        framed.extend(kind.to_le_bytes());
        framed.extend(bytes);
        if let Ok(command) = Command::decode(&framed) {
            prop_assert_eq!(command.encode(), framed);
        }
    }
}

#[test]
fn the_documented_bytes_are_those_of_the_code() {
    let page = include_str!("../../../../docs/formats/command.md");
    let documented: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim).collect();
    let hex = |command: &Command| {
        command.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let found: Vec<String> = samples().iter().map(hex).collect();
    assert_eq!(documented, found, "a change here needs another COMMAND_VERSION");
}
