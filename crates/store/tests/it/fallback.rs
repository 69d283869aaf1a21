//! The older checkpoint: what a store does when the newer one has rotted.

use sheepdog_proto::{Oid, View};
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store};

use crate::history::{small_options, stamp, vid, write};
use crate::model::ask;

#[test]
fn a_unit_that_was_used_again_after_the_lost_checkpoint_has_one_owner() {
    let disk = FakeDisk::new();
    let options = Options { segments_max: 32, ..small_options() };
    let open = || Store::open(Box::new(disk.clone()), options).unwrap().0;
    let [first, second, third] = [0, 1, 2].map(|index| Oid::data(vid(1), index));
    let read = |oid| Request::Read { oid, first_block: 0, count: 64 };
    let mut store = open();
    ask(&mut store, write(first, 0, 64, stamp(1, 1), 1, 1));
    store.checkpoint().unwrap();
    ask(&mut store, Request::Reset { oid: first, stamp: stamp(1, 2), view: View(1) });
    store.checkpoint().unwrap();
    // Into the unit that the first object left.
    ask(&mut store, write(second, 0, 64, stamp(1, 3), 1, 2));
    let Reply::Read(written) = ask(&mut store, read(second)) else { panic!("no read") };
    drop(store);
    disk.restart();
    assert!(disk.flip_bit("checkpoint.a", 20, 0));

    let mut store = open();
    assert_eq!(ask(&mut store, read(second)), Reply::Read(written.clone()));
    store.checkpoint().unwrap();
    ask(&mut store, write(third, 0, 64, stamp(1, 4), 1, 3));
    assert_eq!(ask(&mut store, read(second)), Reply::Read(written));
}
