use sheepdog_engine::volume::Answer;
use sheepdog_proto::command::{Addresses, Command, Copies as Wanted};
use sheepdog_proto::{Buffer, Generation, LogIndex, View, block_checksum};
use sheepdog_store::{FakeDisk, Options};

use super::super::history::tagged;
use super::*;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

/// Two sheep with one group of two copies, and a VDI of one object.
fn cluster() -> (ClusterState, Vid) {
    let mut state = ClusterState::default();
    let mut apply = |command: Command| {
        state.apply(LogIndex(state.index.0 + 1), &command).unwrap();
    };
    for uuid in 0..2 {
        let (zone, weight, shards) = (uuid as u32, 16, 1);
        let addresses = Addresses::default();
        apply(Command::Join { uuid, zone, weight, shards, addresses });
    }
    let (cluster, time_ns, partition_bits) = (1, 0, 0);
    let (object_shift, copies) = (20, Wanted::Auto);
    apply(Command::Format { cluster, time_ns, partition_bits, object_shift, copies });
    let (name, size, copies) = ("a".to_owned(), 1 << 20, None);
    apply(Command::CreateVdi { name, size, copies, object_shift: None, time_ns });
    let vid = state.catalogue.iter().next().unwrap().vid;
    (state, vid)
}

fn write(oid: Oid, sequence: u64, block: &[u8]) -> Request {
    let (first_block, view) = (0, View(3));
    let object_shift = if oid.kind() == sheepdog_proto::ObjectKind::Map { 22 } else { 20 };
    let stamp = Stamp::new(Generation(1), sequence);
    let checksums = vec![block_checksum(oid, 0, block)];
    let data = Payload::from(block);
    Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
}

/// A store with block 0 of the VDI's object, of tag `tag` in its first sector, and its map.
fn store(vid: Vid, sequence: u64, tag: u64) -> Store {
    let disk = FakeDisk::new();
    let options = Options { segment_bytes: 0, reserve_bytes: 0, ..Options::default() };
    let (mut store, _) = Store::open(Box::new(disk), options).unwrap();
    let mut page = Buffer::zeroed(BLOCK_BYTES);
    page[..4].copy_from_slice(&vid.get().to_le_bytes());
    let data = tagged(&[tag, 0, 0, 0, 0, 0, 0, 0]);
    let stable = Stamp::new(Generation(1), sequence);
    let requests = vec![
        write(Oid::map(vid, 0), 1, &page),
        write(Oid::data(vid, 0), sequence, &data),
        Request::Watermark { vid, stable },
    ];
    store.execute(requests).into_iter().for_each(|reply| drop(reply.unwrap()));
    store
}

fn gathered(state: &ClusterState, stores: [&mut Store; 2]) -> Result<Copies, String> {
    let mut copies = Copies::new();
    for (node, store) in [A, B].into_iter().zip(stores) {
        gather(Place { node, shard: 0 }, store, state, &mut copies)?;
        check_leftovers(Place { node, shard: 0 }, store, state)?;
    }
    Ok(copies)
}

#[test]
fn equal_copies_are_fine_and_different_stamps_are_noticed() {
    let (state, vid) = cluster();
    let (mut a, mut b) = (store(vid, 2, 5), store(vid, 2, 5));
    check_equal(&gathered(&state, [&mut a, &mut b]).unwrap(), &state).unwrap();
    let mut newer = store(vid, 3, 5);
    check_equal(&gathered(&state, [&mut a, &mut newer]).unwrap(), &state).unwrap_err(); // E1
}

#[test]
fn a_copy_without_what_was_acknowledged_is_noticed() {
    let (state, vid) = cluster();
    let (mut a, mut b) = (store(vid, 2, 5), store(vid, 2, 5));
    let copies = gathered(&state, [&mut a, &mut b]).unwrap();
    let mut history = History::default();
    history.write(1, (1, 1), 0, &[5]);
    history.answer(1, &Ok(Answer::Done)).unwrap();
    check_history(&copies, &state, vid, &history).unwrap();
    history.write(2, (1, 2), 0, &[6]);
    check_history(&copies, &state, vid, &history).unwrap();
    history.answer(2, &Ok(Answer::Done)).unwrap();
    check_history(&copies, &state, vid, &history).unwrap_err(); // E2
}

#[test]
fn what_is_left_of_a_deleted_vdi_is_noticed() {
    let (mut state, vid) = cluster();
    let (mut a, mut b) = (store(vid, 2, 5), store(vid, 2, 5));
    state.apply(LogIndex(state.index.0 + 1), &Command::DeleteVdi { vid }).unwrap();
    gathered(&state, [&mut a, &mut b]).unwrap_err(); // E3
}

#[test]
fn what_is_listed_as_unstable_is_noticed() {
    let (state, vid) = cluster();
    let (mut a, mut b) = (store(vid, 2, 5), store(vid, 2, 5));
    let late = write(Oid::data(vid, 0), 9, &tagged(&[1, 0, 0, 0, 0, 0, 0, 0]));
    a.execute(vec![late]).into_iter().for_each(|reply| drop(reply.unwrap()));
    gathered(&state, [&mut a, &mut b]).unwrap_err(); // E4
}
