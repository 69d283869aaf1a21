use proptest::prelude::*;
use sheepdog_proto::Vid;

use super::*;

const SIZE: u64 = 10_000_000;

fn export(structured: bool, allocation: bool) -> Export {
    Export { vid: Vid::new(1).unwrap(), size: SIZE, structured, allocation }
}

fn request(command: u16, flags: u16, offset: u64, len: u32) -> Request {
    Request { flags, command, cookie: 9, offset, len }
}

fn errno(request: Request) -> u32 {
    request.check(&export(true, true)).map_or_else(|fault| fault.errno, |_| 0)
}

#[test]
fn a_request_is_read_in_network_byte_order() {
    let bytes = *b"\x25\x60\x95\x13\0\x01\0\x06ABCDEFGH\0\0\0\0\0\0\x01\x02\0\0\x03\x04";
    let wanted = Request {
        flags: 1,
        command: 6,
        cookie: u64::from_be_bytes(*b"ABCDEFGH"),
        offset: 0x102,
        len: 0x304,
    };
    assert_eq!(Request::decode(&bytes), Ok(wanted));
    for position in 0..4 {
        let mut bytes = bytes;
        bytes[position] ^= 0x10;
        assert!(Request::decode(&bytes).is_err());
    }
}

#[test]
fn ranges_outside_the_export_have_the_errors_of_the_protocol() {
    let [read, write, flush, trim, zero, status] = [0, 1, 3, 4, 6, 7];
    for (command, past_end) in [(read, 22), (write, 28), (trim, 22), (zero, 28), (status, 22)] {
        assert_eq!(errno(request(command, 0, SIZE - 1, 1)), 0, "{command}"); // F1
        assert_eq!(errno(request(command, 0, SIZE - 1, 2)), past_end, "{command}");
        assert_eq!(errno(request(command, 0, SIZE, 1)), past_end, "{command}");
        assert_eq!(errno(request(command, 0, u64::MAX, 1)), past_end, "{command}");
        assert_eq!(errno(request(command, 0, u64::MAX - 1, 4096)), past_end, "{command}");
    }
    assert_eq!(errno(request(flush, 0, 0, 0)), 0);
    assert_eq!(errno(request(flush, 0, 4096, 0)), 22);
    assert_eq!(errno(request(flush, 0, 0, 1)), 22);
    assert_eq!(errno(request(status, 0, 0, 0)), 22);
}

#[test]
fn no_payload_exceeds_32_mib_but_zeroes_and_trims_may() {
    let large = Export { size: 1 << 40, ..export(true, true) };
    for (command, limited) in [(0, true), (1, true), (4, false), (6, false), (7, false)] {
        assert!(request(command, 0, 0, 32 << 20).check(&large).is_ok());
        let over = request(command, 0, 0, (32 << 20) + 1).check(&large);
        assert_eq!(over.is_err(), limited, "{command}");
        assert_eq!(request(command, 0, 0, u32::MAX).check(&large).is_err(), limited);
    }
}

#[test]
fn each_command_has_its_own_flags_and_fua_is_welcome_everywhere() {
    let allowed = [(0, 0b101), (1, 0b1), (3, 0b1), (4, 0b1), (6, 0b11), (7, 0b1001)];
    for (command, flags) in allowed {
        let len = if command == 3 { 0 } else { 512 };
        for bit in 0..16 {
            let wanted = if flags & 1 << bit != 0 { 0 } else { 22 };
            assert_eq!(errno(request(command, 1 << bit, 0, len)), wanted, "{command} {bit}");
        }
    }
    assert!(request(0, 0b100, 0, 512).check(&export(false, false)).is_err());
}

#[test]
fn commands_that_were_not_announced_are_invalid() {
    for command in [5, 8, 9, 0x100, 0x8000, u16::MAX] {
        assert_eq!(errno(request(command, 0, 0, 0)), 22);
    }
    assert!(request(7, 0, 0, 512).check(&export(true, false)).is_err());
    assert_eq!(request(2, 0xffff, 1, 1).check(&export(true, true)), Ok(Work::Disconnect));
}

#[test]
fn replies_are_those_of_the_protocol() {
    assert_eq!(Head::done(7).bytes(), b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x07");
    let fault = Fault::invalid("no");
    let (head, body) = Head::failed(false, 7, &fault);
    assert_eq!(head.bytes(), b"\x67\x44\x66\x98\0\0\0\x16\0\0\0\0\0\0\0\x07");
    assert!(body.is_empty());
    let (head, body) = Head::failed(true, 7, &fault);
    assert_eq!(head.bytes(), b"\x66\x8e\x33\xef\0\x01\x80\x01\0\0\0\0\0\0\0\x07\0\0\0\x08");
    assert_eq!(body, b"\0\0\0\x16\0\x02no");
    let data = Head::data(true, 7, 0x1000, 512);
    assert_eq!(data.bytes()[..8], *b"\x66\x8e\x33\xef\0\x01\0\x01");
    assert_eq!(data.bytes()[16..], *b"\0\0\x02\x08\0\0\0\0\0\0\x10\0");
    assert_eq!(Head::data(false, 7, 0x1000, 512).bytes(), Head::done(7).bytes());
    let empty = Head::data(true, 7, 0x1000, 0);
    assert_eq!(empty.bytes()[4..8], *b"\0\x01\0\0");
    assert_eq!(empty.bytes()[16..], [0; 4]);
}

fn runs(body: &[u8]) -> Vec<(u32, u32)> {
    assert_eq!(body[..4], ALLOCATION_ID.to_be_bytes());
    let number = |at: &[u8]| u32::from_be_bytes(at.try_into().unwrap());
    body[4..].chunks(8).map(|run| (number(&run[..4]), number(&run[4..]))).collect()
}

#[test]
fn neighbouring_runs_of_one_kind_become_one() {
    let extent = |len, allocated| Extent { len, allocated };
    let extents = [extent(10, true), extent(5, true), extent(7, false), extent(0, true)];
    let (_, body) = Head::status(7, 22, false, &extents);
    assert_eq!(runs(&body), [(15, 0), (7, 3)]);
    let (_, body) = Head::status(7, 22, true, &extents);
    assert_eq!(runs(&body), [(15, 0)]);
    let (_, body) = Head::status(7, 9, false, &[]);
    assert_eq!(runs(&body), [(9, 0)]);
    let (_, body) = Head::status(7, u32::MAX, false, &[extent(u64::MAX, false)]);
    assert_eq!(runs(&body), [(u32::MAX, 3)]);
}

proptest! {
    #[test]
    fn any_header_is_understood_or_refused(
        tail in any::<[u8; 24]>(),
        structured in any::<bool>(),
        allocation in any::<bool>(),
    ) {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&REQUEST.to_be_bytes());
        bytes[4..].copy_from_slice(&tail);
        let request = Request::decode(&bytes).unwrap();
        let _checked = request.check(&export(structured, allocation));
    }

    #[test]
    fn what_is_allowed_lies_inside_the_export(
        command in 0..9_u16,
        flags in 0..32_u16,
        offset in prop_oneof![0..2 * SIZE, any::<u64>()],
        len in prop_oneof![0..20_000_000_u32, any::<u32>()],
    ) {
        let request = request(command, flags, offset, len);
        if let Ok(work) = request.check(&export(true, true)) {
            let inside = offset.checked_add(u64::from(len)).is_some_and(|end| end <= SIZE);
            prop_assert!(inside || work == Work::Disconnect); // F1
        }
    }

    #[test]
    fn a_status_covers_no_more_than_was_asked_for(
        len in 1..u32::MAX,
        first in any::<bool>(),
        extents in prop::collection::vec((0..1_u64 << 33, any::<bool>()), 0..20),
    ) {
        let extents: Vec<Extent> =
            extents.into_iter().map(|(len, allocated)| Extent { len, allocated }).collect();
        let (head, body) = Head::status(7, len, first, &extents);
        prop_assert_eq!(&head.bytes()[16..20], &(body.len() as u32).to_be_bytes()[..]); // F2
        let runs = runs(&body);
        prop_assert!(!runs.is_empty() && (!first || runs.len() == 1));
        prop_assert!(runs.iter().all(|run| run.0 > 0));
        prop_assert!(runs.windows(2).all(|pair| pair[0].1 != pair[1].1));
        prop_assert!(runs.iter().map(|run| u64::from(run.0)).sum::<u64>() <= u64::from(len));
    }
}

#[test]
fn the_page_on_the_format_names_the_same_numbers() {
    let page = include_str!("../../../../../docs/formats/nbd.md");
    let row = |number: u32, name: &str| {
        assert!(page.contains(&format!("\n| {number} | `{name}` |")), "{number} {name}");
    };
    use crate::nbd::option::number;
    row(number::EXPORT_NAME, "EXPORT_NAME");
    row(number::ABORT, "ABORT");
    row(number::LIST, "LIST");
    row(number::INFO, "INFO");
    row(number::GO, "GO");
    row(number::STRUCTURED_REPLY, "STRUCTURED_REPLY");
    row(number::LIST_META_CONTEXT, "LIST_META_CONTEXT");
    row(number::SET_META_CONTEXT, "SET_META_CONTEXT");
    row(command::READ.into(), "READ");
    row(command::WRITE.into(), "WRITE");
    row(command::DISCONNECT.into(), "DISC");
    row(command::FLUSH.into(), "FLUSH");
    row(command::TRIM.into(), "TRIM");
    row(command::WRITE_ZEROES.into(), "WRITE_ZEROES");
    row(command::BLOCK_STATUS.into(), "BLOCK_STATUS");
    row(errno::EPERM, "EPERM");
    row(errno::EIO, "EIO");
    row(errno::EINVAL, "EINVAL");
    row(errno::ENOSPC, "ENOSPC");
    row(errno::ESHUTDOWN, "ESHUTDOWN");
    assert!(page.contains(&PAYLOAD_BYTES_MAX.to_string()));
}
