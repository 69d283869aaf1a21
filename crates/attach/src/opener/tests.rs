use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn vid(value: u32) -> Vid {
    Vid::new(value).unwrap()
}

fn qemu(openers: &Openers, pid: u32, now: Instant) -> Result<u64, Busy> {
    let data = openers.connect(Face::Legacy, Origin::Process(pid));
    let control = openers.connect(Face::Legacy, Origin::Process(pid));
    let opened = openers.open(control, vid(1), Sharing::Exclusive, now);
    openers.disconnect(control, now);
    opened.map(|()| data)
}

#[test]
fn a_lock_outlives_the_connection_that_took_it() {
    let (openers, now) = (Openers::default(), Instant::now());
    qemu(&openers, 7, now).unwrap();
    let busy = qemu(&openers, 8, now).unwrap_err(); // O1, O3
    assert_eq!((busy.face, busy.origin), (Face::Legacy, Origin::Process(7)));
    assert!(openers.take_idle(now + GRACE, GRACE).is_empty());
}

#[test]
fn a_dead_client_makes_room_at_once_and_is_given_up_after_the_grace_time() {
    let (openers, now) = (Openers::default(), Instant::now());
    let data = qemu(&openers, 7, now).unwrap();
    openers.touch(data, vid(1), now);
    openers.disconnect(data, now);
    assert!(openers.take_idle(now + GRACE / 2, GRACE).is_empty());
    assert_eq!(openers.take_idle(now + GRACE, GRACE), [vid(1)]); // O2
    qemu(&openers, 8, now).unwrap();
    assert!(openers.holder(vid(1)).is_some());
}

#[test]
fn a_silent_connection_that_turns_to_another_vdi_no_longer_counts() {
    let (openers, now) = (Openers::default(), Instant::now());
    let data = qemu(&openers, 7, now).unwrap();
    openers.touch(data, vid(2), now);
    assert_eq!(openers.take_idle(now + GRACE, GRACE), [vid(1)]);
    assert!(openers.holder(vid(2)).is_some());
}

#[test]
fn several_connections_of_one_process_can_share() {
    let (openers, now) = (Openers::default(), Instant::now());
    let connections: Vec<u64> =
        [5, 5, 6].map(|pid| openers.connect(Face::Nbd, Origin::Process(pid))).into();
    openers.open(connections[0], vid(1), Sharing::SameOrigin, now).unwrap();
    openers.touch(connections[0], vid(1), now);
    openers.open(connections[1], vid(1), Sharing::SameOrigin, now).unwrap();
    assert!(openers.open(connections[2], vid(1), Sharing::SameOrigin, now).is_err());
}

#[test]
fn release_frees_at_once() {
    let (openers, now) = (Openers::default(), Instant::now());
    let data = qemu(&openers, 7, now).unwrap();
    openers.touch(data, vid(1), now);
    assert!(openers.release(vid(1)));
    assert!(!openers.release(vid(1)));
    qemu(&openers, 8, now).unwrap();
}

#[test]
fn opening_and_carrying_is_one_step_and_the_last_close_forgets() {
    let (openers, now) = (Openers::default(), Instant::now());
    let [a, b, c] = [5, 5, 6].map(|pid| openers.connect(Face::Nbd, Origin::Process(pid)));
    openers.open_here(a, vid(1), Sharing::SameOrigin, now).unwrap();
    openers.open_here(b, vid(1), Sharing::SameOrigin, now).unwrap();
    assert!(openers.open_here(c, vid(1), Sharing::Exclusive, now).is_err()); // O1
    assert!(!openers.close(a, vid(1), now));
    assert!(openers.open_here(c, vid(1), Sharing::Exclusive, now).is_err());
    assert!(openers.close(b, vid(1), now));
    assert!(openers.take_idle(now + GRACE, GRACE).is_empty());
    openers.open_here(c, vid(1), Sharing::Exclusive, now).unwrap();
}

#[test]
fn silent_connections_of_several_nbd_clients_of_one_host_do_not_keep_a_vdi_open() {
    let (openers, now) = (Openers::default(), Instant::now());
    let host = Origin::Host(IpAddr::from([127, 0, 0, 1]));
    let [a, b] = [0, 1].map(|_| openers.connect(Face::Nbd, host));
    openers.open_here(a, vid(1), Sharing::Exclusive, now).unwrap();
    assert!(openers.close(a, vid(1), now)); // `b` is silent, but carries nothing of `a`.
    openers.open_here(b, vid(1), Sharing::Exclusive, now).unwrap();
}

#[test]
fn whom_a_vdi_was_taken_from_gets_it_back_only_by_opening_it() {
    let (openers, now) = (Openers::default(), Instant::now());
    let data = qemu(&openers, 7, now).unwrap();
    openers.touch(data, vid(1), now);
    let other = openers.connect(Face::Legacy, Origin::Process(8));
    openers.touch(other, vid(2), now);
    assert_eq!(openers.expel(vid(1), now), [data]);
    let told = |number| {
        let end = openers.end_of(number);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(end.notified()).poll(&mut context).is_ready()
    };
    assert!(told(data) && !told(other) && openers.any_lives(&[data]));
    assert!(qemu(&openers, 8, now).is_err() && openers.go_on(other, vid(1), now).is_err(), "O5");
    openers.disconnect(data, now);
    openers.end_expel(vid(1));
    assert!(!openers.any_lives(&[data]) && openers.holder(vid(1)).is_none());
    let again = openers.connect(Face::Legacy, Origin::Process(7));
    assert!(openers.go_on(again, vid(1), now + BAR).is_err(), "O4");
    openers.disconnect(again, now);
    // Somebody else opens and closes it; that makes no difference.
    let stranger = openers.connect(Face::Nbd, Origin::Process(9));
    openers.open_here(stranger, vid(1), Sharing::Exclusive, now).unwrap();
    assert!(openers.close(stranger, vid(1), now));
    assert!(qemu(&openers, 7, now + BAR / 2).unwrap_err().is_barred, "O4");
    let again = openers.connect(Face::Legacy, Origin::Process(7));
    assert!(openers.go_on(again, vid(1), now + BAR).is_err(), "O4");
    openers.disconnect(again, now);
    let data = qemu(&openers, 7, now + BAR).unwrap();
    openers.go_on(data, vid(1), now + BAR).unwrap();
}

#[test]
fn the_silent_connection_of_a_lock_is_taken_away_too() {
    let (openers, now) = (Openers::default(), Instant::now());
    let data = qemu(&openers, 7, now).unwrap();
    let stranger = openers.connect(Face::Legacy, Origin::Process(9));
    assert_eq!(openers.expel(vid(1), now), [data]);
    assert!(openers.any_lives(&[stranger]));
}

#[test]
fn whoever_says_good_bye_gives_up_nothing_of_somebody_else() {
    let (openers, now) = (Openers::default(), Instant::now());
    let data = qemu(&openers, 7, now).unwrap();
    openers.touch(data, vid(1), now);
    openers.expel(vid(1), now);
    openers.end_expel(vid(1));
    let next = openers.connect(Face::Nbd, Origin::Process(9));
    openers.open_here(next, vid(1), Sharing::Exclusive, now).unwrap();
    let good_bye = openers.connect(Face::Legacy, Origin::Process(7));
    assert!(!openers.release_own(good_bye, vid(1)));
    assert_eq!(openers.holder(vid(1)).map(|by| by.face), Some(Face::Nbd));
    openers.disconnect(next, now);
    assert!(openers.release_own(good_bye, vid(1)));
}
