use super::*;
use sheepdog_store::{FakeDisk, Options};

#[tokio::test]
async fn a_disk_that_was_taken_out_answers_at_once_that_it_knows_nothing() {
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let store = Store::open(Box::new(FakeDisk::new()), options).unwrap().0;
    let link = StoreLink::new(0, store);
    link.close().await;
    let asked = link.ask(Request::List { after: None, limit: 1 });
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
    assert!(matches!(answer, Ok(None)), "somebody still waits");
}
