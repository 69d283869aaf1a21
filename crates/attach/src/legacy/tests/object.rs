//! Data objects and the inode, as QEMU and tgt use them.

use sheepdog_engine::volume::{Operation, Refusal};
use sheepdog_proto::legacy::header::{COW_OID, FLAGS};
use sheepdog_proto::legacy::inode::{INODE_BYTES, INODE_HEADER_BYTES, InodeHeader, SIZE};
use sheepdog_proto::legacy::{Flags, Opcode, RequestHeader, ResultCode};
use sheepdog_proto::{Oid, Vid};

use super::client::{
    Client, INVALID, LOCKED, NO_OBJECT, OK, header, lock, lookup, new_vdi, read, release, write,
};
use super::memory::{HERE, Herd, run, vid_of};
use crate::door::Kind;

const MIB: u64 = 1 << 20;
const WHOLE: usize = 4_198_968;
const CREATE: Opcode = Opcode::CreateAndWriteObject;

async fn opened(herd: &Herd, name: &str, size: u64) -> (Client, Vid) {
    let mut client = Client::connect(herd);
    assert_eq!(client.ask(new_vdi(name, size, &[])).await.0, OK);
    assert_eq!(client.ask(lock(name, 0)).await.0, OK);
    (client, vid_of(name))
}

/// QEMU's map update after a create.
fn map_write(vid: Vid, first: u32, entries: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    write(Opcode::WriteObject, Oid::map(vid, 0), 4664 + 4 * first, &bytes)
}

#[test]
fn what_was_written_is_read_after_opening_again() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 64 * MIB).await;
        for (index, offset, fill) in [(0, 0, 0xa1), (1, 1 << 20, 0xa2), (0, 8192, 0xa3)] {
            let opcode = if offset == 8192 { Opcode::WriteObject } else { CREATE };
            let data = write(opcode, Oid::data(vid, index), offset, &[fill; 4096]);
            assert_eq!(client.ask(data).await.0, OK);
            assert_eq!(client.ask(map_write(vid, index, &[vid.get()])).await.0, OK);
        }
        let flush = header(Opcode::FlushVdi, 0)
            .with(sheepdog_proto::legacy::header::OID, Oid::map(vid, 0).get());
        assert_eq!(client.ask_header(flush).await, (OK, vec![]));
        assert_eq!(client.ask_header(release(vid)).await.0, OK);
        drop(client);

        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(lock("t1", 0)).await.0, OK);
        let (code, inode) = client.ask_header(read(Oid::map(vid, 0), 0, WHOLE)).await;
        assert_eq!((code, inode.len()), (OK, WHOLE));
        let own = vid.get().to_le_bytes();
        assert_eq!(inode[4664..4672], [own, own].concat());
        assert!(inode[4672..].iter().all(|byte| *byte == 0));
        for (index, offset, fill) in
            [(0, 0, 0xa1), (0, 4096, 0), (1, 1 << 20, 0xa2), (0, 8192, 0xa3)]
        {
            let got = client.ask_header(read(Oid::data(vid, index), offset, 4096)).await;
            assert_eq!(got, (OK, vec![fill; 4096]));
        }
        let (_, bitmap) = client.ask_header(header(Opcode::ReadVdis, 1 << 21)).await;
        let bits: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
        let bit = bitmap[vid.get() as usize / 8] >> (vid.get() % 8) & 1;
        assert_eq!((vid.get(), bits, bit), (0x6a5e16, 1, 1));
    });
}

#[test]
fn absent_objects_are_told_apart_from_holes_in_existing_ones() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        let object = Oid::data(vid, 1);
        assert_eq!(client.ask_header(read(object, 0, 4096)).await.0, NO_OBJECT);
        let data = write(Opcode::WriteObject, object, 0, &[1; 512]);
        assert_eq!(client.ask(&data).await.0, NO_OBJECT);
        assert_eq!(herd.object_count(vid), 0, "a write does not create");
        assert_eq!(client.ask(write(CREATE, object, 512, &[2; 512])).await.0, OK);
        assert_eq!(client.ask(&data).await.0, OK);
        assert_eq!(client.ask_header(read(object, 0, 1536)).await, {
            (OK, [[1; 512], [2; 512], [0; 512]].concat())
        });
        let absent = [
            Oid::data(vid, 2),
            Oid::data(vid, 4),
            Oid::data(vid, u32::MAX),
            Oid::data(vid_of("nosuch"), 0),
            Oid::vm_state(vid, 0),
            Oid::map(vid_of("nosuch"), 0),
            Oid::map(vid, 1),
        ];
        for oid in absent {
            assert_eq!(client.ask_header(read(oid, 0, 512)).await.0, NO_OBJECT, "{oid}");
        }
    });
}

#[test]
fn whether_an_object_exists_is_asked_once() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        assert_eq!(client.ask(write(CREATE, Oid::data(vid, 0), 0, &[1; 512])).await.0, OK);
        for _ in 0..10 {
            assert_eq!(client.ask_header(read(Oid::data(vid, 0), 0, 512)).await.0, OK);
        }
        let is_question = |operation: &Operation| matches!(operation, Operation::Status { .. });
        let submitted = herd.sheep.submitted.borrow().clone();
        assert_eq!(submitted.iter().filter(|(_, o)| is_question(o)).count(), 0);
        assert_eq!(submitted.len(), 11);
        let observed = herd.sheep.observed.borrow().clone();
        assert_eq!(observed[0], (Kind::Write, 512, true));
        assert_eq!(observed[1], (Kind::Read, 512, true));
    });
}

#[test]
fn flags_and_sources_of_the_client_decide_nothing() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        let object = Oid::data(vid, 0);
        let flagged = |opcode, fill, flags: Flags, cow: u64| {
            let mut bytes = write(opcode, object, 0, &[fill; 512]);
            let head = RequestHeader::parse(&bytes).unwrap().with(COW_OID, cow);
            let head = head.with(FLAGS, Flags::WRITE.and(flags).0.into());
            bytes[..48].copy_from_slice(&head.0);
            bytes
        };
        let elsewhere = Oid::data(vid_of("nosuch"), 9).get();
        assert_eq!(client.ask(flagged(CREATE, 1, Flags::COW, elsewhere)).await.0, OK);
        assert_eq!(client.ask(flagged(Opcode::WriteObject, 2, Flags::COW, 0)).await.0, OK);
        assert_eq!(client.ask(flagged(CREATE, 3, Flags::CACHE, 0)).await.0, OK);
        assert_eq!(client.ask(flagged(Opcode::WriteObject, 4, Flags(0xfffe), 0)).await.0, OK);
        let odd = read(object, 0, 512).with(FLAGS, 0xfffe);
        assert_eq!(client.ask_header(odd).await, (OK, vec![4; 512]));
        // A create of an object that exists keeps the rest of it: the client's map may be stale.
        assert_eq!(client.ask(write(CREATE, object, 1024, &[5; 512])).await.0, OK);
        assert_eq!(herd.stored(vid, 0, 512), [4; 512]);
    });
}

#[test]
fn a_map_write_frees_objects_only_if_it_is_nothing_but_zeros() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 32 * MIB).await;
        let own = vid.get();
        for index in [2, 3, 4] {
            assert_eq!(client.ask(write(CREATE, Oid::data(vid, index), 0, &[9; 512])).await.0, OK);
        }
        assert_eq!(client.ask(map_write(vid, 2, &[own, own, own])).await.0, OK);
        assert_eq!(client.ask(map_write(vid, 1, &[own, own, 0, own])).await.0, OK);
        assert_eq!(herd.object_count(vid), 3, "own vid without object, zero in a mixed range");
        assert_eq!(client.ask(map_write(vid, 2, &[own + 1])).await.0, INVALID);
        let misaligned = write(Opcode::WriteObject, Oid::map(vid, 0), 4665, &[0; 4]);
        assert_eq!(client.ask(misaligned).await.0, INVALID);
        assert_eq!(client.ask(map_write(vid, 3, &[0])).await.0, OK);
        assert_eq!(herd.object_count(vid), 2);
        assert_eq!(client.ask_header(read(Oid::data(vid, 3), 0, 512)).await.0, NO_OBJECT);
        // Written again, it has nothing of what was there.
        assert_eq!(client.ask(write(CREATE, Oid::data(vid, 3), 512, &[8; 512])).await.0, OK);
        let got = client.ask_header(read(Oid::data(vid, 3), 0, 1024)).await;
        assert_eq!(got, (OK, [[0; 512], [8; 512]].concat()));
    });
}

#[test]
fn a_discarded_object_is_gone_and_a_removed_one_is_not() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        let object = Oid::data(vid, 0);
        let naming =
            |opcode| header(opcode, 0).with(sheepdog_proto::legacy::header::OID, object.get());
        assert_eq!(client.ask(write(CREATE, object, 0, &[1; 512])).await.0, OK);
        assert_eq!(client.ask_header(naming(Opcode::RemoveObject)).await.0, INVALID);
        assert_eq!(client.ask_header(read(object, 0, 512)).await.0, OK);
        assert_eq!(client.ask_header(naming(Opcode::DiscardObject)).await.0, OK);
        assert_eq!(client.ask_header(read(object, 0, 512)).await.0, NO_OBJECT);
        assert_eq!(client.ask_header(naming(Opcode::DiscardObject)).await.0, OK);
        assert_eq!(herd.object_count(vid), 0);
    });
}

#[test]
fn of_a_written_header_only_a_larger_size_is_taken() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 64 * MIB).await;
        let inode = Oid::map(vid, 0);
        let (_, before) = client.ask_header(read(inode, 0, INODE_HEADER_BYTES)).await;
        let resized = |size: u64| {
            let mut bytes = vec![0xee; INODE_HEADER_BYTES];
            bytes[SIZE.offset..SIZE.offset + 8].copy_from_slice(&size.to_le_bytes());
            write(Opcode::WriteObject, inode, 0, &bytes)
        };
        assert_eq!(client.ask(resized(128 * MIB)).await.0, OK);
        assert_eq!(client.ask(resized(32 * MIB)).await.0, OK, "ignored");
        assert_eq!(client.ask(resized(u64::MAX)).await.0, INVALID);
        assert_eq!(client.ask(write(Opcode::WriteObject, inode, 256, b"tag\0")).await.0, OK);
        let (_, after) = client.ask_header(read(inode, 0, INODE_HEADER_BYTES)).await;
        let expected = InodeHeader { size: 128 * MIB, ..InodeHeader::parse(&before).unwrap() };
        assert_eq!(InodeHeader::parse(&after).unwrap(), expected);
        let far = write(CREATE, Oid::data(vid, 31), 0, &[1; 512]);
        assert_eq!(client.ask(far).await.0, OK, "the new area can be written");
    });
}

#[test]
fn a_whole_inode_is_read_and_written_in_parts() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        assert_eq!(client.ask(write(CREATE, Oid::data(vid, 1), 0, &[1; 512])).await.0, OK);
        let inode = Oid::map(vid, 0);
        let (_, mut whole) = client.ask_header(read(inode, 0, INODE_BYTES as usize)).await;
        assert_eq!(whole.len(), INODE_BYTES as usize);
        for (offset, len) in [(4600, 80), (4668, 4), (4_198_960, 16), (0, 1), (560, 4)] {
            let (_, part) = client.ask_header(read(inode, offset, len)).await;
            assert_eq!(part, whole[offset as usize..offset as usize + len]);
        }
        whole[SIZE.offset..SIZE.offset + 8].copy_from_slice(&(20 * MIB).to_le_bytes());
        whole[4_198_968..].fill(0x77);
        assert_eq!(client.ask(write(Opcode::WriteObject, inode, 0, &whole)).await.0, OK);
        let (_, again) = client.ask_header(read(inode, 0, INODE_BYTES as usize)).await;
        assert_eq!(InodeHeader::parse(&again).unwrap().size, 20 * MIB);
        assert!(again[4_198_968..].iter().all(|byte| *byte == 0), "gref is always zero");
        assert_eq!(again[4664..4_198_968], whole[4664..4_198_968]);
    });
}

#[test]
fn the_last_object_may_be_short() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 4 * MIB + 1000).await;
        let last = Oid::data(vid, 1);
        assert_eq!(client.ask(write(CREATE, last, 512, &[1; 512])).await.0, OK);
        assert_eq!(client.ask(write(CREATE, last, 512, &[1; 513])).await.0, INVALID);
        let (code, bytes) = client.ask_header(read(last, 0, 4 << 20)).await;
        assert_eq!((code, bytes.len()), (OK, 4 << 20));
        assert_eq!(bytes.iter().filter(|byte| **byte == 1).count(), 512);
        let got = client.ask_header(read(last, 8192, 512)).await;
        assert_eq!(got, (OK, vec![0; 512]));
        assert_eq!(client.ask(write(CREATE, Oid::data(vid, 2), 0, &[1; 512])).await.0, INVALID);
    });
}

#[test]
fn saved_vm_state_is_refused() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        for oid in [Oid::vm_state(vid, 0), Oid::map(vid, 1)] {
            assert_eq!(client.ask(write(CREATE, oid, 0, &[1; 512])).await.0, INVALID);
        }
        assert_eq!(client.ask(write(CREATE, Oid::map(vid, 0), 0, &[1; 512])).await.0, INVALID);
    });
}

#[test]
fn refusals_of_the_volume_reach_the_client_as_their_codes() {
    run(async {
        let herd = Herd::formatted(1);
        let (mut client, vid) = opened(&herd, "t1", 16 * MIB).await;
        assert_eq!(client.ask(write(CREATE, Oid::data(vid, 0), 0, &[1; 512])).await.0, OK);
        for (refusal, code) in [
            (Refusal::NoSpace, ResultCode::NoSpace),
            (Refusal::Io("disk".into()), ResultCode::Io),
            (Refusal::Stopping, ResultCode::Shutdown),
            (Refusal::NoVdi, ResultCode::NoVdi),
            (Refusal::Invalid("range"), ResultCode::InvalidParameters),
        ] {
            *herd.sheep.broken.borrow_mut() = Some(refusal);
            let got = client.ask(write(CREATE, Oid::data(vid, 0), 0, &[1; 512])).await;
            assert_eq!(got.0, code.get());
            let got = client.ask_header(read(Oid::data(vid, 3), 0, 512)).await;
            assert_eq!(got.0, code.get(), "asked whether it exists");
        }
    });
}

#[test]
fn data_requests_without_a_lock_attach_the_vdi_and_find_it_again() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(write(CREATE, Oid::data(vid, 0), 0, &[1; 512])).await.0, OK);
        assert_eq!(herd.owner(vid), Some(HERE));
        herd.sheep.lose(vid);
        // As after a restart of the gateway: the client notices nothing.
        assert_eq!(client.ask_header(read(Oid::data(vid, 0), 0, 512)).await, (OK, vec![1; 512]));
        assert_eq!(herd.owner(vid), Some(HERE));
        // While another sheep had it, the object was discarded.
        herd.sheep.lose(vid);
        herd.discard(vid, 0);
        assert_eq!(client.ask_header(read(Oid::map(vid, 0), 4664, 4)).await.0, OK);
        assert_eq!(client.ask_header(read(Oid::data(vid, 0), 0, 512)).await.0, NO_OBJECT);
        herd.sheep.lose(vid);
        herd.attach_elsewhere(vid);
        assert_eq!(client.ask_header(read(Oid::data(vid, 0), 0, 512)).await.0, LOCKED);
        let (code, _) = client.ask(write(CREATE, Oid::data(vid, 0), 0, &[2; 512])).await;
        assert_eq!(code, LOCKED);
        let (code, header) = client.ask_header(read(Oid::map(vid, 0), 0, 4664)).await;
        assert_eq!((code, header.len()), (OK, 4664), "the header needs no attachment");
        let info = lookup(Opcode::GetVdiInfo, "t1", "", 0);
        assert_eq!(client.ask(info).await.0, OK);
    });
}
