use std::fs::File;
use std::sync::Arc;

use sheepdog_proto::{Buffer, Payload};

use super::super::super::{FileId, Operation, Ticket};
use super::super::job::OpenFile;
use super::*;

/// What the kernel finds in the entry of an operation: its code, length, address and flags.
fn entry(slot: &mut Slot, operation: Operation) -> (u8, u32, u64, u32) {
    let file = Arc::new(OpenFile::new(File::open("/dev/null").unwrap(), "null"));
    let entry = slot.prepare(Job::new(Ticket(1), file, operation).unwrap());
    assert_eq!(size_of_val(&entry), 64);
    // SAFETY: an entry is the 64 bytes of the kernel's `struct io_uring_sqe`, all initialized.
    let bytes = unsafe { std::mem::transmute::<squeue::Entry, [u8; 64]>(entry) };
    let word = |at| u32::from_ne_bytes(std::array::from_fn(|n| bytes[at + n]));
    let address = u64::from_ne_bytes(std::array::from_fn(|n| bytes[16 + n]));
    (bytes[0], word(24), address, word(28))
}

const FILE: FileId = FileId(1);
const RWF_DSYNC: u32 = 2;
const FSYNC_DATASYNC: u32 = 1;
const FALLOC_KEEP_SIZE_PUNCH_HOLE: u32 = 3;

#[test]
fn the_flags_that_make_bytes_durable_reach_the_kernel() {
    let mut slot = Slot::default();
    for (durable, expected) in [(true, RWF_DSYNC), (false, 0)] {
        let parts: Vec<Payload> = vec![(&b"ab"[..]).into(), (&b"c"[..]).into()];
        let address = parts[0].as_ptr().addr();
        let write = Operation::Write { file: FILE, offset: 0, parts, durable, direct: false };
        let (code, len, spans, flags) = entry(&mut slot, write);
        assert_eq!((code, len, flags), (opcode::Writev::CODE, 2, expected));
        assert_eq!(spans, slot.spans.as_ptr().addr() as u64);
        assert_eq!((slot.spans[0].address, slot.spans[0].bytes), (address, 2));
        assert_eq!(slot.spans[1].bytes, 1);
    }
    let (code, _, _, flags) = entry(&mut slot, Operation::Sync { file: FILE });
    assert_eq!((code, flags), (opcode::Fsync::CODE, FSYNC_DATASYNC));
}

#[test]
fn a_punch_never_changes_the_size_and_a_read_asks_for_its_buffer() {
    let mut slot = Slot::default();
    let (code, mode, len, _) = entry(&mut slot, Operation::Punch { file: FILE, offset: 7, len: 9 });
    assert_eq!((code, mode, len), (opcode::Fallocate::CODE, FALLOC_KEEP_SIZE_PUNCH_HOLE, 9));
    let buffer = Buffer::zeroed(30);
    let address = buffer.as_ptr().addr() as u64;
    let (code, len, at, _) = entry(&mut slot, Operation::Read { file: FILE, offset: 7, buffer });
    assert_eq!((code, len, at), (opcode::Read::CODE, 30, address));
}
