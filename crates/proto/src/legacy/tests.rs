use proptest::prelude::*;

use super::capture::{Event, recorded};
use super::header::{
    BASE_VID, COMMON_FIELDS, COPIES, COW_OID, DATA_LENGTH, DEFAULT_FIELDS, FLAGS, Field, ID,
    LOCK_TYPE, OBJECT_FIELDS, OBJECT_SHIFT, OFFSET, OID, OPCODE, REPLY_FIELDS, SNAP_ID, VDI_FIELDS,
    VDI_SIZE, VERSION,
};
use super::inode::{INODE_FIELDS, INODE_HEADER_BYTES, InodeHeader, MAP_START, written_size};
use super::request::{LockType, Lookup, NewVdi, ObjectRange, name_field};
use super::*;
use crate::wire::WireError;
use crate::{Oid, Vid};

const PAGE: &str = include_str!("../../../../docs/formats/legacy-protocol.md");

/// Rows of the page's tables: the cells between the bars.
fn rows() -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| -> Vec<&'static str> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
    };
    PAGE.lines().filter(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_page_has_every_field_where_it_is() {
    let lists =
        [COMMON_FIELDS, OBJECT_FIELDS, VDI_FIELDS, REPLY_FIELDS, DEFAULT_FIELDS, INODE_FIELDS];
    let expected: Vec<Field> = lists.concat();
    let mut tables: Vec<(usize, usize, &str)> = Vec::new();
    let mut is_table_of_fields = false;
    for row in rows() {
        match row[..] {
            [a, b, c] if (a, b, c) == ("offset", "bytes", "field") => is_table_of_fields = true,
            [a, b, c] if is_table_of_fields && a.parse::<usize>().is_ok() => {
                tables.push((a.parse().unwrap(), b.parse().unwrap(), c));
            }
            ["--", ..] => {}
            _ => is_table_of_fields = false,
        }
    }
    let expected: Vec<_> = expected.iter().map(|f| (f.offset, f.bytes, f.name)).collect();
    assert_eq!(tables, expected);
}

#[test]
fn the_page_has_every_opcode_flag_and_code() {
    let numbered: Vec<(u64, &str)> = rows()
        .iter()
        .filter_map(|row| {
            let number = u64::from_str_radix(row[0].strip_prefix("0x")?, 16).ok()?;
            Some((number, row[1]))
        })
        .collect();
    let opcodes = Opcode::ALL.iter().map(|o| (u64::from(o.get()), o.legacy_name()));
    let flags = Flags::NAMES.iter().enumerate().map(|(bit, name)| (1 << bit, *name));
    let codes = ResultCode::ALL.iter().map(|c| (u64::from(c.get()), c.legacy_name()));
    let expected: Vec<(u64, &str)> = opcodes.chain(flags).chain(codes).collect();
    assert_eq!(numbered, expected);
}

#[test]
fn a_new_vdi_has_the_bytes_that_qemu_sends() {
    let header = RequestHeader::new(Opcode::NewVdi, Flags::WRITE, 0, 256)
        .with(VDI_SIZE, 64 << 20)
        .with(OBJECT_SHIFT, 22);
    let bytes = [header.0.as_slice(), &name_field(b"t1")].concat();
    let scenarios = recorded().unwrap();
    let create = scenarios.iter().find(|scenario| scenario.name == "01-create-64M").unwrap();
    let sent = create.events.iter().find_map(|event| match event {
        Event::Request { pair: 2, bytes, .. } => bytes.clone(),
        _ => None,
    });
    assert_eq!(Some(bytes.clone()), sent);
    let request = Request::parse(&header, &bytes[HEADER_BYTES..]);
    let expected = NewVdi {
        name: Some("t1".into()),
        size: 64 << 20,
        base: 0,
        copies: 0,
        copy_policy: 0,
        store_policy: 0,
        object_shift: 22,
        snapshot: false,
    };
    assert_eq!(request, Ok(Request::NewVdi(expected)));
    // The answer differs from the recorded one only in the epoch, which nobody reads.
    let vid = Vid::new(0x6a5e16).unwrap();
    let code = ResultCode::Success;
    let reply = Response::Vdi { code, vid, copies: 3, object_shift: 22 }.emit(&header);
    let recorded = create.events.iter().find_map(|event| match event {
        Event::Reply { pair: 2, bytes: Some(bytes), .. } => ResponseHeader::parse(bytes).ok(),
        _ => None,
    });
    assert_eq!(recorded.map(|header| header.with(super::header::EPOCH, 0).0), Some(reply));
}

#[test]
fn a_header_is_one_readable_line() {
    let vid = Vid::new(0x6a5e16).unwrap();
    let object = |opcode, flags| {
        RequestHeader::new(opcode, flags, 4, 4096).with(OID, Oid::data(vid, 1).get())
    };
    let direct = Flags::WRITE.and(Flags::DIRECT);
    let cow = Flags::WRITE.and(Flags::COW).and(Flags(0x4000));
    let named = RequestHeader::new(Opcode::LockVdi, Flags::WRITE, 0, 512);
    for (header, line) in [
        (
            object(Opcode::WriteObject, direct).with(OFFSET, 512),
            "v0 WRITE_OBJ W+DIRECT id=4 len=4096 oid=006a5e1600000001 off=512",
        ),
        (
            object(Opcode::CreateAndWriteObject, cow).with(COW_OID, 7),
            "v0 CREATE_AND_WRITE_OBJ W+COW+0x4000 id=4 len=4096 oid=006a5e1600000001 off=0 \
             cow=0000000000000007",
        ),
        (
            named.with(VERSION, 1).with(SNAP_ID, 3).with(LOCK_TYPE, 1),
            "v1 LOCK_VDI W id=0 len=512 snapid=3 type=1",
        ),
        (
            RequestHeader::new(Opcode::ReleaseVdi, Flags::default(), 0, 0).with(BASE_VID, 0x1e9),
            "v0 RELEASE_VDI 0x0 id=0 len=0 vid=0001e9 type=0",
        ),
        (
            RequestHeader::new(Opcode::NewVdi, Flags::WRITE, 0, 256).with(COPIES, 2),
            "v0 NEW_VDI W id=0 len=256 size=0 base=000000 copies=2 policy=0x0 shift=0 snapid=0",
        ),
        (named.with(OPCODE, 0x82), "v0 opcode 0x82 W id=0 len=512"),
    ] {
        assert_eq!(header.to_string(), line);
        assert!(!format!("{header:?}").contains('\n'));
    }
    let locked = Response::Vdi { code: ResultCode::VdiLocked, vid, copies: 3, object_shift: 22 };
    let reply = ResponseHeader(locked.emit(&named.with(ID, 9)));
    let line = "v0 LOCK_VDI 0x0 id=9 len=0 VDI_LOCKED vid=6a5e16 copies=3 shift=22";
    assert_eq!(reply.to_string(), line);
}

#[test]
fn an_inode_header_comes_back_from_its_bytes() {
    let header = InodeHeader {
        name: "vm0".into(),
        tag: "before the upgrade".into(),
        created_ns: 1_700_000_000_123_456_789,
        snapshot_ns: 5,
        size: 1 << 40,
        copies: 3,
        object_shift: 22,
        snap_id: 7,
        vid: Vid::new(0xc596d4).unwrap(),
        parent: Vid::new(1),
    };
    let bytes = header.emit();
    assert_eq!(InodeHeader::parse(&bytes), Ok(header.clone()));
    assert_eq!(InodeHeader::parse(&bytes[..INODE_HEADER_BYTES - 1]), Err(WireError::Short));
    assert_eq!(bytes[512..520], ((1_700_000_000_u64 << 32) | 123_456_789).to_le_bytes());
    let longest = InodeHeader { name: "n".repeat(255), ..header };
    assert_eq!(InodeHeader::parse(&longest.emit()), Ok(longest));
}

#[test]
fn the_recorded_inode_is_what_is_made_from_its_fields() {
    let scenarios = recorded().unwrap();
    let mut seen = 0;
    for event in scenarios.iter().flat_map(|scenario| &scenario.events) {
        let Event::Reply { bytes: Some(bytes), .. } = event else { continue };
        let header = ResponseHeader::parse(bytes).unwrap();
        let read = header.get(OPCODE) == u64::from(Opcode::ReadObject.get());
        let payload = &bytes[HEADER_BYTES..];
        if !read || payload.len() < MAP_START as usize {
            continue;
        }
        let Ok(inode) = InodeHeader::parse(payload) else { continue };
        // Erasure coding is the one thing that cannot be told.
        if payload[552] == 0 {
            assert_eq!(inode.emit(), payload[..INODE_HEADER_BYTES], "{inode:?}");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} inodes were recorded");
}

#[test]
fn a_written_size_is_found_only_if_it_is_written_whole() {
    let data = [&[0; 536][..], &77_u64.to_le_bytes(), &[0; 100]].concat();
    assert_eq!(written_size(0, &data), Some(77));
    assert_eq!(written_size(100, &data[100..]), Some(77));
    assert_eq!(written_size(536, &77_u64.to_le_bytes()), Some(77));
    assert_eq!(written_size(0, &data[..543]), None);
    assert_eq!(written_size(537, &data[537..]), None);
    assert_eq!(written_size(u32::MAX, &data), None);
}

#[test]
fn names_end_at_their_zero() {
    let head = RequestHeader::new(Opcode::GetVdiInfo, Flags::WRITE, 0, 512);
    let mut payload = [name_field(b"vm0"), name_field(b"")].concat();
    payload[5] = b'x';
    let lookup = |name: Option<&str>, tag: &str| {
        let name = name.map(str::to_owned);
        Ok(Request::Info(Lookup { name, tag: Some(tag.into()), snap_id: 0 }))
    };
    assert_eq!(Request::parse(&head, &payload), lookup(Some("vm0"), ""));
    assert_eq!(Request::parse(&head, &payload[..256]), lookup(Some("vm0"), ""));
    payload[..256].fill(b'n');
    assert_eq!(Request::parse(&head, &payload), lookup(None, ""));
    payload[..4].copy_from_slice(&[0xff, 0xfe, 0, 0]);
    assert_eq!(Request::parse(&head, &payload), lookup(None, ""));
    for wrong in [0, 1, 255, 257, 511] {
        let got = Request::parse(&head, &payload[..wrong]);
        assert_eq!(got, Err(ResultCode::InvalidParameters));
    }
}

#[test]
fn lock_types_and_vids_are_taken_as_they_are() {
    let head = RequestHeader::new(Opcode::LockVdi, Flags::WRITE, 0, 256);
    for (number, expected) in [(0, LockType::Normal), (1, LockType::Shared), (2, LockType::Unknown)]
    {
        let request = Request::parse(&head.with(LOCK_TYPE, number), &name_field(b"a"));
        assert!(matches!(request, Ok(Request::Lock(_, lock_type)) if lock_type == expected));
    }
    let release = RequestHeader::new(Opcode::ReleaseVdi, Flags::default(), 0, 0);
    for (number, vid) in [(0, None), (1, Vid::new(1)), (1 << 24, None)] {
        let request = Request::parse(&release.with(BASE_VID, number), &[]);
        assert_eq!(request, Ok(Request::Release(vid)));
    }
}

#[test]
fn lengths_are_legal_up_to_the_largest_object() {
    let most = OBJECT_BYTES_MAX;
    let write = Flags::WRITE;
    for (opcode, flags, length, legal) in [
        (Opcode::WriteObject, write, most, true),
        (Opcode::WriteObject, write, most + 1, false),
        (Opcode::WriteObject, Flags::default(), u32::MAX, true),
        (Opcode::ReadObject, Flags::default(), most, true),
        (Opcode::ReadObject, Flags::default(), most + 1, false),
        (Opcode::ReadVdis, Flags::default(), u32::MAX, false),
        (Opcode::GetClusterDefault, Flags::default(), u32::MAX, true),
        (Opcode::NewVdi, write, PAYLOAD_BYTES_MAX, true),
        (Opcode::NewVdi, write, PAYLOAD_BYTES_MAX + 1, false),
    ] {
        let header = RequestHeader::new(opcode, flags, 0, length);
        assert_eq!(header.check_length().is_ok(), legal, "{header}");
    }
    let unknown = RequestHeader::new(Opcode::NewVdi, write, 0, u32::MAX).with(OPCODE, 0x7f);
    assert!(unknown.check_length().is_err());
}

/// Any header, with opcode, version and length drawn so that most requests get far.
fn headers() -> impl Strategy<Value = RequestHeader> {
    let opcode = prop_oneof![4 => 0..0x20_u64, 1 => 0..=255_u64];
    let version = prop_oneof![4 => 0..=3_u64, 1 => 0..=255_u64];
    let length = prop_oneof![Just(256_u64), Just(512), Just(1 << 21), 0..5000_u64, any::<u64>()];
    let bytes = proptest::collection::vec(any::<u8>(), HEADER_BYTES);
    (bytes, opcode, version, length, 0..4_u64).prop_map(
        |(bytes, opcode, version, length, flags)| {
            RequestHeader::parse(&bytes)
                .unwrap()
                .with(OPCODE, opcode)
                .with(VERSION, version)
                .with(DATA_LENGTH, length)
                .with(FLAGS, flags)
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_make_anything_panic(
        header in headers(),
        payload in proptest::collection::vec(any::<u8>(), 0..1024),
    ) {
        let _ = (header.check_length(), header.to_string(), ResponseHeader(header.0).to_string());
        let fitting = payload.get(..header.payload_bytes() as usize).unwrap_or(&payload);
        match Request::parse(&header, fitting) {
            Ok(_) => {
                prop_assert!(header.version() <= 2);
                prop_assert!(header.opcode().is_some());
            }
            Err(code) => {
                let expected = [ResultCode::VersionMismatch, ResultCode::InvalidParameters];
                prop_assert!(expected.contains(&code));
            }
        }
    }

    #[test]
    fn a_wrong_version_is_named_before_anything_else(header in headers()) {
        let internal = header.opcode_number() >= 0x80;
        let right = if internal { header.version() == 10 } else { header.version() <= 2 };
        let mismatch = Request::parse(&header, &[]) == Err(ResultCode::VersionMismatch);
        prop_assert_eq!(mismatch, !right);
    }

    #[test]
    fn a_cut_header_is_short(header in headers(), len in 0..HEADER_BYTES) {
        prop_assert_eq!(RequestHeader::parse(&header.0[..len]), Err(WireError::Short));
        prop_assert_eq!(ResponseHeader::parse(&header.0[..len]), Err(WireError::Short));
        let longer = [header.0.as_slice(), &[1, 2]].concat();
        prop_assert_eq!(RequestHeader::parse(&longer), Ok(header));
    }

    #[test]
    fn an_object_request_comes_back_from_its_header(
        oid: u64, offset: u32, len in 0..=OBJECT_BYTES_MAX, id: u32, create: bool,
    ) {
        let opcode = if create { Opcode::CreateAndWriteObject } else { Opcode::WriteObject };
        let header = RequestHeader::new(opcode, Flags::WRITE, id, len)
            .with(OID, oid)
            .with(OFFSET, offset.into());
        let range = ObjectRange { oid: Oid::from_wire(oid), offset, len };
        prop_assert_eq!(Request::parse(&header, &[]), Ok(Request::Write { range, create }));
        let reply = ResponseHeader(Response::DONE.emit(&header));
        prop_assert_eq!((reply.get(ID), reply.data_length(), reply.result()), (id.into(), 0, 0));
        let read = header.with(OPCODE, Opcode::ReadObject.get().into()).with(FLAGS, 0);
        prop_assert_eq!(Request::parse(&read, &[]), Ok(Request::Read(range)));
        let reply = ResponseHeader(Response::Data(len).emit(&read));
        prop_assert_eq!((reply.data_length(), reply.result()), (len, 0));
    }

    #[test]
    fn no_inode_bytes_make_anything_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        offset: u32,
    ) {
        let mut inode = vec![0; INODE_HEADER_BYTES];
        inode[..bytes.len()].copy_from_slice(&bytes);
        if let Ok(header) = InodeHeader::parse(&inode) {
            let _ = header.emit();
        }
        let _ = (InodeHeader::parse(&bytes), written_size(offset, &bytes));
    }
}
