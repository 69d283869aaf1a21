//! The store equals a map: the same requests give the same replies.

use sheepdog_store::{FakeDisk, Options, Store};

use crate::history::{Event, History, oids, small_options};

use crate::model::{Model, difference, play, settle};
use crate::seeds::for_each_seed;

fn options() -> Options {
    Options { segment_bytes: 8 << 20, ..small_options() }
}

#[test]
fn a_store_answers_as_the_model_does() {
    for_each_seed(24, |seed| {
        let disk = FakeDisk::new();
        let (mut store, _) = Store::open(Box::new(disk.clone()), options()).unwrap();
        let mut history = History::new(seed);
        let mut model = Model::default();
        settle(&mut store, &mut model);
        for step in 0..120 {
            let batch = history.batch();
            let replies = play(&mut store, &batch);
            for (request, reply) in batch.iter().zip(replies) {
                assert_eq!(reply, Ok(model.execute(request)), "step {step}: {request:?}");
            }
            match history.event() {
                Event::Nothing => {}
                Event::Checkpoint => {
                    store.checkpoint().unwrap();
                    model.begin_segment();
                }
                Event::Restart => {
                    // A clean stop: a checkpoint keeps the watermarks, too.
                    store.checkpoint().unwrap();
                    model.begin_segment();
                    drop(store);
                    disk.restart();
                    (store, _) = Store::open(Box::new(disk.clone()), options()).unwrap();
                    assert_eq!(difference(&mut store, &model, &oids()), None, "step {step}");
                    settle(&mut store, &mut model);
                }
            }
        }
        assert_eq!(difference(&mut store, &model, &oids()), None);
    });
}
