//! The store equals a map: the same requests give the same replies.

use sheepdog_store::{FakeDisk, Store};

use crate::history::{Event, History, oids, small_options};
use crate::model::{Model, difference, play};
use crate::seeds::for_each_seed;

#[test]
fn a_store_answers_as_the_model_does() {
    for_each_seed(24, |seed| {
        let disk = FakeDisk::new();
        let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
        let mut history = History::new(seed);
        let mut model = Model::default();
        for step in 0..120 {
            let batch = history.batch();
            let replies = play(&mut store, &mut model, &batch);
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
                    (store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
                    assert_eq!(difference(&mut store, &model, &oids()), None, "step {step}");
                }
            }
        }
        assert_eq!(difference(&mut store, &model, &oids()), None);
    });
}
