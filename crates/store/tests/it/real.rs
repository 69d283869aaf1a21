//! The same store on real files.

use sheepdog_store::{RealDisk, Store};

use crate::history::{Event, History, oids, small_options};
use crate::model::{Model, difference, play, settle};
use crate::seeds::for_each_seed;

#[test]
fn a_store_on_real_files_answers_as_the_model_does() {
    for_each_seed(3, |seed| {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let disk = RealDisk::new(directory.path()).unwrap();
            Store::open(Box::new(disk), small_options()).unwrap().0
        };
        let mut store = open();
        let mut history = History::new(seed);
        let mut model = Model::default();
        settle(&mut store, &mut model);
        for step in 0..40 {
            let batch = history.batch();
            let replies = play(&mut store, &batch);
            for (request, reply) in batch.iter().zip(replies) {
                assert_eq!(reply, Ok(model.execute(request)), "step {step}: {request:?}");
            }
            if history.event() == Event::Checkpoint {
                store.checkpoint().unwrap();
                model.begin_segment();
            }
        }
        // Not closed in any way: the next open replays.
        drop(store);
        let mut store = open();
        model.begin_segment();
        assert_eq!(difference(&mut store, &model, &oids()), None);
        // It goes on, and is stopped cleanly.
        settle(&mut store, &mut model);
        store.checkpoint().unwrap();
        drop(store);
        let disk = RealDisk::new(directory.path()).unwrap();
        let (mut store, report) = Store::open(Box::new(disk), small_options()).unwrap();
        assert_eq!((report.batches, report.is_torn), (0, false));
        model.begin_segment();
        assert_eq!(difference(&mut store, &model, &oids()), None);
    });
}
