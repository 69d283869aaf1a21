use std::io::IoSliceMut;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::*;
use crate::door::Socket;

fn reply(cookie: u64, body: Body) -> Reply {
    Reply { head: Head::done(cookie), body, cost: 1000 }
}

fn pair() -> (Stream, Stream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Stream::adopt(Socket::Unix(ours)).unwrap(), Stream::adopt(Socket::Unix(theirs)).unwrap())
}

#[test]
fn the_limit_lets_one_request_of_any_size_through_and_then_no_more() {
    let outbox = Outbox::new();
    assert!(outbox.admit(IN_FLIGHT_BYTES_MAX + 5)); // Q1
    assert!(!outbox.admit(1));
    let outbox = Outbox::new();
    assert!(outbox.admit(IN_FLIGHT_BYTES_MAX - 1));
    assert!(outbox.admit(1));
    assert!(!outbox.admit(1));
}

#[tokio::test]
async fn replies_leave_whole_and_in_order_through_a_narrow_socket() {
    let (ours, theirs) = pair();
    let outbox = Outbox::new();
    let mut wanted = Vec::new();
    for cookie in 0..300_u64 {
        let piece = |len: usize| Payload::from(&vec![cookie as u8; len][..]);
        let body = match cookie % 4 {
            0 => Body::Nothing,
            1 => Body::Bytes(vec![cookie as u8; 7]),
            2 => Body::Data(piece(100_000)),
            _ => Body::Pieces(vec![piece(1), piece(4096), piece(0), piece(50_000)]),
        };
        let reply = reply(cookie, body);
        reply.slices().for_each(|slice| wanted.extend_from_slice(slice));
        assert!(outbox.admit(reply.cost));
        outbox.push(reply);
    }
    outbox.close();
    let read = async {
        let mut got = Vec::new();
        let mut bytes = vec![0; 3000];
        while got.len() < wanted.len() {
            let read = theirs.read(&mut [IoSliceMut::new(&mut bytes)]).await.unwrap();
            assert!(read > 0);
            got.extend_from_slice(&bytes[..read]);
        }
        got
    };
    let (written, got) = tokio::join!(outbox.write(&ours), read);
    written.unwrap();
    assert!(got == wanted, "the bytes differ"); // Q2
    assert_eq!(outbox.in_flight.get(), 0);
}

#[tokio::test]
async fn room_is_made_when_a_reply_was_written_not_before() {
    let (ours, _theirs) = pair();
    let outbox = Outbox::new();
    assert!(outbox.admit(1000));
    outbox.push(reply(1, Body::Nothing));
    assert_eq!(outbox.in_flight.get(), 1000);
    tokio::select! {
        end = outbox.write(&ours) => panic!("the outbox is open: {end:?}"),
        () = outbox.room() => {}
    }
    assert_eq!(outbox.in_flight.get(), 0);
}

#[tokio::test]
async fn deferred_work_runs_in_the_writer_and_may_defer_more() {
    let (ours, _theirs) = pair();
    let outbox = Rc::new(Outbox::new());
    let ran = Rc::new(Cell::new(0));
    let (inner, count) = (outbox.clone(), ran.clone());
    outbox.defer(Box::new(move || {
        count.set(1);
        let count = count.clone();
        inner.defer(Box::new(move || count.set(2)));
    }));
    assert_eq!(ran.get(), 0);
    outbox.close();
    outbox.write(&ours).await.unwrap();
    assert_eq!(ran.get(), 2);
}

#[test]
fn a_dead_outbox_keeps_nothing() {
    let outbox = Outbox::new();
    outbox.push(reply(1, Body::Nothing));
    outbox.kill();
    outbox.push(reply(2, Body::Nothing));
    outbox.defer(Box::new(|| {}));
    assert!(outbox.ready.borrow().is_empty() && outbox.deferred.borrow().is_empty()); // Q3
}
