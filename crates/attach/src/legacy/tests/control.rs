//! VDIs made, found and deleted.

use sheepdog_proto::command::Command;
use sheepdog_proto::legacy::header::{
    BASE_VID, COPIES, COPY_POLICY, DEFAULT_COPIES, DEFAULT_OBJECT_SHIFT, OBJECT_SHIFT,
    REPLY_COPIES, REPLY_OBJECT_SHIFT, REPLY_VID, SNAP_ID, STORE_POLICY,
};
use sheepdog_proto::legacy::inode::InodeHeader;
use sheepdog_proto::legacy::request::name_field;
use sheepdog_proto::legacy::{Opcode, ResultCode};
use sheepdog_proto::{Oid, Vid};

use super::client::{
    Client, INVALID, LOCKED, NO_OBJECT, OK, carrying, header, lock, lookup, new_vdi, read, release,
    write,
};
use super::memory::{Herd, run, vid_of};

const MIB: u64 = 1 << 20;
const EXISTS: u32 = ResultCode::VdiExists.get();
const NO_VDI: u32 = ResultCode::NoVdi.get();
const NO_TAG: u32 = ResultCode::NoTag.get();
const UNFORMATTED: u32 = ResultCode::WaitForFormat.get();
const STOPPING: u32 = ResultCode::Shutdown.get();

fn info(name: &str) -> Vec<u8> {
    lookup(Opcode::GetVdiInfo, name, "", 0)
}

fn delete(name: &str) -> Vec<u8> {
    let (header, payload) = carrying(Opcode::DeleteVdi, &name_field(name.as_bytes()));
    [header.0.as_slice(), &payload].concat()
}

#[test]
fn a_new_vdi_has_the_vid_of_its_name_and_the_defaults_of_the_cluster() {
    run(async {
        let herd = Herd::formatted(1);
        let mut client = Client::connect(&herd);
        client.send(header(Opcode::GetClusterDefault, 0).0).await;
        let (reply, _) = client.receive().await;
        assert_eq!((reply.get(DEFAULT_COPIES), reply.get(DEFAULT_OBJECT_SHIFT)), (3, 22));
        client.send(new_vdi("t1", 64 * MIB, &[])).await;
        let (reply, _) = client.receive().await;
        let got = [REPLY_VID, REPLY_COPIES, REPLY_OBJECT_SHIFT].map(|field| reply.get(field));
        assert_eq!(got, [0x6a5e16, 3, 22]);
        assert_eq!(client.ask(new_vdi("t1", 64 * MIB, &[])).await.0, EXISTS);
        client.send(new_vdi("r2", 16 * MIB, &[(COPIES, 2), (OBJECT_SHIFT, 20)])).await;
        let (reply, _) = client.receive().await;
        assert_eq!((reply.get(REPLY_COPIES), reply.get(REPLY_OBJECT_SHIFT)), (2, 20));
    });
}

#[test]
fn what_cannot_be_made_is_refused() {
    run(async {
        let herd = Herd::formatted(1);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(new_vdi("t1", MIB, &[])).await.0, OK);
        let t1 = u64::from(vid_of("t1").get());
        for (name, size, fields, code) in [
            ("", MIB, &[][..], INVALID),
            ("ec", MIB, &[(COPIES, 3), (COPY_POLICY, 0x11)], INVALID),
            ("hyper", MIB, &[(STORE_POLICY, 1)], INVALID),
            ("shift", MIB, &[(OBJECT_SHIFT, 19)], INVALID),
            ("shift", MIB, &[(OBJECT_SHIFT, 27)], INVALID),
            ("copies", MIB, &[(COPIES, 40)], INVALID),
            ("copies", MIB, &[(COPIES, 4)], INVALID),
            ("big", (4 << 40) + 1, &[], INVALID),
            ("snap", MIB, &[(SNAP_ID, 1)], NO_VDI),
            ("t1", MIB, &[(SNAP_ID, 1), (BASE_VID, t1)], INVALID),
            ("clone", MIB, &[(BASE_VID, t1)], INVALID),
            ("clone", MIB, &[(BASE_VID, 0x123456)], ResultCode::BaseVdiRead.get()),
            ("t1", MIB, &[(BASE_VID, t1)], EXISTS),
        ] {
            let got = client.ask(new_vdi(name, size, fields)).await;
            assert_eq!(got.0, code, "{name} {size} {fields:?}");
        }
        for len in [0, 100, 255, 257, 512] {
            let (head, payload) = carrying(Opcode::NewVdi, &vec![b'n'; len]);
            assert_eq!(client.ask([head.0.as_slice(), &payload].concat()).await.0, INVALID);
        }
        for name in [[b'n'; 256].as_slice(), &[0xff, 0xfe].repeat(127)] {
            let mut field = vec![0; 256];
            field[..name.len()].copy_from_slice(name);
            let (head, payload) = carrying(Opcode::NewVdi, &field);
            assert_eq!(client.ask([head.0.as_slice(), &payload].concat()).await.0, INVALID);
        }
        // Copies of zero mean the default, whatever the policy says.
        assert_eq!(client.ask(new_vdi("ok", 4 << 40, &[(COPY_POLICY, 0x11)])).await.0, OK);
        assert_eq!(client.ask(new_vdi(&"n".repeat(255), 0, &[])).await.0, OK);
        assert_eq!(client.ask(info(&"n".repeat(255))).await.0, OK);
    });
}

#[test]
fn lookups_tell_no_such_vdi_from_no_such_snapshot() {
    run(async {
        let herd = Herd::formatted(1);
        herd.make("t1", MIB);
        let mut client = Client::connect(&herd);
        for opcode in [Opcode::GetVdiInfo, Opcode::LockVdi, Opcode::DeleteVdi] {
            for (name, tag, snap_id, code) in [
                ("nosuch", "", 0, NO_VDI),
                ("nosuch", "tag", 1, NO_VDI),
                ("", "", 0, NO_VDI),
                ("t1", "tag", 0, NO_TAG),
                ("t1", "", 1, NO_TAG),
            ] {
                let got = client.ask(lookup(opcode, name, tag, snap_id)).await;
                assert_eq!(got.0, code, "{opcode} {name} {tag} {snap_id}");
            }
            for len in [1, 255, 257, 511, 513] {
                let (head, payload) = carrying(opcode, &vec![0; len]);
                assert_eq!(client.ask([head.0.as_slice(), &payload].concat()).await.0, INVALID);
            }
            let (head, payload) = carrying(opcode, &[b'x'; 512]);
            assert_eq!(client.ask([head.0.as_slice(), &payload].concat()).await.0, NO_VDI);
        }
        client.send(info("t1")).await;
        assert_eq!(client.receive().await.0.get(REPLY_VID), u64::from(vid_of("t1").get()));
    });
}

#[test]
fn a_deleted_vdi_is_gone_but_its_vid_stays_taken_and_its_inode_readable() {
    run(async {
        let herd = Herd::formatted(1);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(new_vdi("t1", 16 * MIB, &[])).await.0, OK);
        let vid = vid_of("t1");
        let create = write(Opcode::CreateAndWriteObject, Oid::data(vid, 0), 0, &[1; 512]);
        assert_eq!(client.ask(&create).await.0, OK);
        client.send(delete("t1")).await;
        let (reply, _) = client.receive().await;
        assert_eq!((reply.result(), reply.get(REPLY_VID)), (OK, u64::from(vid.get())));
        assert_eq!(client.ask(delete("t1")).await.0, NO_VDI);
        for request in [info("t1"), lock("t1", 0)] {
            assert_eq!(client.ask(request).await.0, NO_VDI);
        }
        assert_eq!(client.ask(&create).await.0, NO_OBJECT);
        assert_eq!(client.ask_header(read(Oid::data(vid, 0), 0, 512)).await.0, NO_OBJECT);
        let (code, inode) = client.ask_header(read(Oid::map(vid, 0), 0, 5000)).await;
        let left = InodeHeader::parse(&inode).unwrap();
        assert_eq!((code, left.name.as_str(), left.size, left.vid), (OK, "", 0, vid));
        assert!(inode[4664..].iter().all(|byte| *byte == 0));
        let write_inode = write(Opcode::WriteObject, Oid::map(vid, 0), 4664, &[0; 4]);
        assert_eq!(client.ask(write_inode).await.0, NO_OBJECT);

        client.send(new_vdi("t1", 16 * MIB, &[])).await;
        let (reply, _) = client.receive().await;
        assert_eq!(reply.get(REPLY_VID), u64::from(vid.next().get()));
        let (_, bitmap) = client.ask_header(header(Opcode::ReadVdis, 1 << 21)).await;
        for vid in [vid, vid.next()] {
            assert_eq!(bitmap[vid.get() as usize / 8] >> (vid.get() % 8) & 1, 1);
        }
        // Headers of both can be read side by side, as QEMU's list does.
        for (vid, name) in [(vid, ""), (vid.next(), "t1")] {
            let (_, inode) = client.ask_header(read(Oid::map(vid, 0), 0, 4664)).await;
            assert_eq!(InodeHeader::parse(&inode).unwrap().name, name);
        }
    });
}

#[test]
fn a_vdi_that_another_client_has_open_is_not_deleted() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let (mut holder, mut other) = (Client::connect(&herd), Client::connect(&herd));
        assert_eq!(holder.ask_header(read(Oid::map(vid, 0), 0, 5000)).await.0, OK);
        assert_eq!(other.ask(delete("t1")).await.0, LOCKED);
        assert_eq!(holder.ask(delete("t1")).await.0, OK, "its own");
        let vid = herd.make("t2", 16 * MIB);
        herd.attach_elsewhere(vid);
        assert_eq!(other.ask(delete("t2")).await.0, LOCKED);
        assert_eq!(other.ask(info("t2")).await.0, OK);
    });
}

#[test]
fn a_cluster_without_format_or_about_to_stop_serves_only_what_it_can() {
    run(async {
        let herd = Herd::unformatted(1);
        let mut client = Client::connect(&herd);
        let vid = vid_of("t1");
        let gated = || {
            vec![
                new_vdi("t1", MIB, &[]),
                lock("t1", 0),
                info("t1"),
                delete("t1"),
                release(vid).0.to_vec(),
                read(Oid::data(vid, 0), 0, 512).0.to_vec(),
                write(Opcode::WriteObject, Oid::data(vid, 0), 0, &[1; 512]),
                header(Opcode::FlushVdi, 0).0.to_vec(),
            ]
        };
        for request in gated() {
            assert_eq!(client.ask(request).await.0, UNFORMATTED);
        }
        let default = header(Opcode::GetClusterDefault, 0);
        assert_eq!(client.ask_header(default).await.0, UNFORMATTED);
        let (code, bitmap) = client.ask_header(header(Opcode::ReadVdis, 1 << 21)).await;
        assert!(code == OK && bitmap.iter().all(|byte| *byte == 0));
        assert_eq!(client.ask_header(header(Opcode::ReadVdis, 4096)).await.0, INVALID);

        herd.format();
        assert_eq!(client.ask(new_vdi("t1", MIB, &[])).await.0, OK);
        herd.sheep.apply(&Command::Shutdown { time_ns: 1 }).unwrap();
        for request in gated() {
            assert_eq!(client.ask(request).await.0, STOPPING);
        }
        assert_eq!(client.ask_header(default).await.0, OK);
    });
}

#[test]
fn names_that_follow_each_other_do_not_confuse() {
    run(async {
        // The second name's hash is the vid that the first name's second VDI takes.
        let herd = Herd::formatted(1);
        let first = vid_of("t1");
        herd.make("t1", MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(delete("t1")).await.0, OK);
        let second = herd.make("t1", MIB);
        assert_eq!(second, first.next());
        assert_eq!(client.ask(delete("t1")).await.0, OK);
        let third = herd.make("t1", MIB);
        assert_eq!(third, second.next());
        client.send(info("t1")).await;
        let found = client.receive().await.0.get(REPLY_VID);
        assert_eq!(Vid::new(found as u32), Some(third));
    });
}
