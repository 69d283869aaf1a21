//! Members of one process: each has its own thread, locks and sockets, as processes have.
//! Killed and stopped processes: `tests/it`.

use super::directory::Directory;
use super::fixture::{bounded, greet, greet_with, other_version, scratch};
use super::frame::{Frame, FrameReader, NOTICE_BYTES_MAX};
use super::*;
use crate::{Entry, Event};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

struct Member {
    log: Box<LocalLog>,
    events: Events,
    entries: Vec<Entry>,
}

impl Member {
    async fn open(directory: &Directory, session: u128) -> Self {
        Self::open_from(directory, session, LogIndex(1)).await
    }

    async fn open_from(directory: &Directory, session: u128, from: LogIndex) -> Self {
        let path = directory.log_path();
        let (log, events) = open(path.parent().unwrap(), session, from).await.unwrap();
        Self { log: Box::new(log), events, entries: Vec::new() }
    }

    async fn append(&self, payload: &str) -> u64 {
        bounded(self.log.append(payload.into())).await.unwrap().0
    }

    async fn event(&mut self) -> Option<Event> {
        let event = bounded(self.events.next()).await;
        if let Some(Event::Entry(entry)) = &event {
            self.entries.push(entry.clone());
        }
        event
    }

    /// Takes events until the entry is there; gives all payloads so far.
    async fn see(&mut self, payload: &str) -> Vec<String> {
        while self.entries.iter().all(|entry| *entry.payload != *payload.as_bytes()) {
            match self.event().await {
                None | Some(Event::Failed(_)) => panic!("the log ended before {payload:?}"),
                Some(_) => {}
            }
        }
        let text = |entry: &Entry| String::from_utf8_lossy(&entry.payload).into_owned();
        self.entries.iter().map(text).collect()
    }

    async fn see_failure(&mut self) -> LogError {
        loop {
            match self.event().await {
                Some(Event::Failed(error)) => return error,
                Some(_) => {}
                None => panic!("the events ended without a reason"),
            }
        }
    }

    async fn close(self) {
        bounded((self.log as Box<dyn CoordinationLog>).close()).await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn all_members_see_the_same_entries_in_the_same_order() {
    let (_keep, directory) = scratch();
    let mut members = Vec::new();
    for session in 1..=3 {
        members.push(Member::open(&directory, session).await);
    }
    let answers: Vec<_> = (0..300)
        .map(|number| (number, members[number % 3].log.append(format!("{number}").into())))
        .collect();
    let mut indexes = Vec::new();
    for (number, answer) in answers {
        indexes.push((number, bounded(answer).await.unwrap()));
    }
    let end = members[0].append("end").await;
    assert_eq!(end, 301);
    for member in &mut members {
        member.see("end").await;
    }
    assert_eq!(members[0].entries, members[1].entries); // L1
    assert_eq!(members[0].entries, members[2].entries);
    for (position, entry) in members[0].entries.iter().enumerate() {
        assert_eq!(entry.index.0, position as u64 + 1);
    }
    for (number, index) in indexes {
        let entry = &members[0].entries[index.0 as usize - 1]; // L2
        assert_eq!(*entry.payload, *format!("{number}").as_bytes());
        assert_eq!(entry.session, number as u128 % 3 + 1);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn appends_that_come_together_share_a_sync() {
    let (_keep, directory) = scratch();
    let mut member = Member::open(&directory, 1).await;
    member.append("first").await;
    for number in 0..500 {
        drop(member.log.append(format!("{number}").into()));
    }
    member.see("499").await;
    let path = directory.log_path();
    let end = std::fs::metadata(&path).unwrap().len();
    let file = Arc::new(directory.open_log().unwrap());
    let mut reader = reader::LogReader::new(file, &path, trail::Trail::default());
    let mut batches = std::collections::BTreeSet::new();
    while let reader::Step::Record(record) = reader.step(end).unwrap() {
        batches.insert(record.header.synced); // R3: the same for all of one batch
    }
    assert!(batches.len() < 500, "{} batches", batches.len());
}

#[tokio::test(flavor = "current_thread")]
async fn appends_of_one_session_keep_their_order_and_need_no_one_to_wait_for_them() {
    let (_keep, directory) = scratch();
    let mut member = Member::open(&directory, 1).await;
    for number in 0..100 {
        drop(member.log.append(format!("{number}").into()));
    }
    let seen = member.see("99").await;
    assert_eq!(seen, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "current_thread")]
async fn the_will_of_a_left_session_is_appended_and_a_closed_one_leaves_none() {
    let (_keep, directory) = scratch();
    let mut witness = Member::open(&directory, 1).await;
    let left = Member::open(&directory, 2).await;
    bounded(left.log.set_will(b"old will of 2".into())).await.unwrap();
    bounded(left.log.set_will(b"will of 2".into())).await.unwrap();
    left.append("by 2").await;
    drop(left);
    assert_eq!(witness.see("will of 2").await, ["by 2", "will of 2"]); // L3
    assert_eq!(witness.entries[1].session, 2);
    let closed = Member::open(&directory, 3).await;
    bounded(closed.log.set_will(b"will of 3".into())).await.unwrap();
    closed.close().await;
    witness.append("end").await;
    assert_eq!(witness.see("end").await, ["by 2", "will of 2", "end"]);
    assert!(session::list(&directory).unwrap().iter().all(|session| *session != 3));
}

#[tokio::test(flavor = "current_thread")]
async fn a_new_life_comes_after_the_will_of_the_old_one() {
    let (_keep, directory) = scratch();
    let mut witness = Member::open(&directory, 1).await;
    for life in 0..20 {
        let member = Member::open(&directory, 2).await;
        // Asked for in either order, the first entry of this life follows the last will.
        member.append(&format!("life {life}")).await;
        bounded(member.log.set_will(format!("will {life}").into())).await.unwrap();
    }
    let expected = (0..20).flat_map(|life| [format!("life {life}"), format!("will {life}")]);
    assert_eq!(witness.see("will 19").await, expected.collect::<Vec<_>>());
}

#[tokio::test(flavor = "current_thread")]
async fn wills_of_all_dead_members_are_appended_when_someone_serves_again() {
    let (_keep, directory) = scratch();
    let members = [Member::open(&directory, 1).await, Member::open(&directory, 2).await];
    for (member, will) in members.iter().zip(["will of 1", "will of 2"]) {
        bounded(member.log.set_will(will.into())).await.unwrap();
    }
    drop(members);
    // One comes back itself, the other one's will is found by it.
    let mut member = Member::open(&directory, 1).await;
    member.append("alive").await;
    member.see("alive").await;
    let mut seen = member.see("will of 2").await;
    assert_eq!(
        seen.iter().filter(|text| *text != "will of 2").collect::<Vec<_>>(),
        ["will of 1", "alive"]
    );
    seen.sort();
    assert_eq!(seen, ["alive", "will of 1", "will of 2"]);
}

#[tokio::test(flavor = "current_thread")]
async fn when_the_server_closes_another_member_serves() {
    let (_keep, directory) = scratch();
    let mut server = Member::open(&directory, 1).await;
    server.append("one").await;
    server.see("one").await;
    let mut member = Member::open(&directory, 2).await;
    member.see("one").await;
    server.close().await;
    assert_eq!(member.append("two").await, 2);
    assert_eq!(member.see("two").await, ["one", "two"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_owner_gets_what_it_asked_for_and_learns_where_the_log_ends() {
    let (_keep, directory) = scratch();
    let writer = Member::open(&directory, 1).await;
    for number in 1..=5 {
        writer.append(&number.to_string()).await;
    }
    let mut late = Member::open_from(&directory, 2, LogIndex(4)).await;
    assert_eq!(late.see("5").await, ["4", "5"]);
    let mut first = Member::open(&directory, 3).await;
    for _ in 1..=5 {
        assert!(matches!(first.event().await, Some(Event::Entry(_))));
    }
    let last = first.event().await;
    assert!(matches!(last, Some(Event::Connected { last: LogIndex(5) })), "{last:?}");
    let mut next = Member::open_from(&directory, 4, LogIndex(6)).await;
    writer.append("6").await;
    assert_eq!(next.see("6").await, ["6"]);
    let mut beyond = Member::open_from(&directory, 5, LogIndex(8)).await;
    let error = beyond.see_failure().await; // L4
    let (have, want) = (LogIndex(6), LogIndex(7));
    assert!(
        matches!(error, LogError::Truncated { have: h, want: w } if h == have && w == want),
        "{error}"
    );
    assert!(beyond.event().await.is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn an_owner_that_takes_no_events_still_gets_its_answers_and_later_every_event() {
    let (_keep, directory) = scratch();
    let mut member = Member::open(&directory, 1).await;
    let answers: Vec<_> =
        (0..2000).map(|number| member.log.append(format!("{number}").into())).collect();
    for answer in answers {
        bounded(answer).await.unwrap();
    }
    assert_eq!(member.see("1999").await.len(), 2000);
}

#[tokio::test(flavor = "current_thread")]
async fn limits_are_refused_without_an_effect() {
    let (_keep, directory) = scratch();
    // Nobody can serve, so everything waits.
    let lock = directory::ServerLock::try_take(&directory).unwrap();
    let mut member = Member::open(&directory, 1).await;
    let large = vec![0; ENTRY_BYTES_MAX + 1];
    let refused = bounded(member.log.append(large.clone())).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })));
    assert!(matches!(bounded(member.log.set_will(large)).await, Err(LogError::TooLarge { .. })));
    let many: Vec<_> = (0..80).map(|_| member.log.append(vec![7; ENTRY_BYTES_MAX])).collect();
    drop(lock);
    let (mut done, mut busy) = (0, 0);
    for answer in many {
        match bounded(answer).await {
            Ok(_) => done += 1,
            Err(LogError::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((done, busy), (63, 17));
    assert_eq!(member.append("end").await, done + 1);
    assert_eq!(member.see("end").await.len() as u64, done + 1);
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_that_are_no_frames_harm_nobody() {
    let (_keep, directory) = scratch();
    let mut member = Member::open(&directory, 1).await;
    member.append("before").await;
    let token = record::Token::default();
    let payload: Arc<[u8]> = Arc::from(*b"uninvited");
    let mut damaged = Frame::Hello { session: 1 }.encode();
    damaged[20] ^= 4;
    let attacks = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        Frame::Append { token, payload }.encode(),
        damaged,
    ];
    for attack in attacks {
        let mut stream = UnixStream::connect(directory.socket_path()).await.unwrap();
        // The server may close before it has read all.
        let _ = stream.write_all(&attack).await;
        let mut reader = FrameReader::new(&mut stream, NOTICE_BYTES_MAX);
        assert!(bounded(reader.next()).await.unwrap().is_none());
    }
    let (_stream, answer) = greet_with(&directory, other_version(1)).await;
    assert_eq!(answer, Some(Frame::Refused(frame::Refusal::Version)));
    let (_stream, answer) = greet(&directory, 77).await;
    assert_eq!(answer, Some(Frame::Refused(frame::Refusal::NoSession))); // E2
    member.append("after").await;
    assert_eq!(member.see("after").await, ["before", "after"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_broken_connection_is_no_death() {
    let (_keep, directory) = scratch();
    let mut member = Member::open(&directory, 1).await;
    bounded(member.log.set_will(b"will".into())).await.unwrap();
    for round in 0..10 {
        // A second connection of the session ends the first one.
        let (stream, answer) = greet(&directory, 1).await;
        assert!(matches!(answer, Some(Frame::Welcome { .. })));
        let pending = member.log.append(format!("{round}").into());
        drop(stream);
        assert_eq!(bounded(pending).await.unwrap(), LogIndex(round + 1));
    }
    let seen = member.see("9").await;
    assert_eq!(seen, (0..10).map(|round| round.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "current_thread")]
async fn a_live_process_whose_session_was_ended_learns_it() {
    let (_keep, directory) = scratch();
    let server = Member::open(&directory, 1).await;
    server.append("one").await;
    let mut member = Member::open(&directory, 2).await;
    member.see("one").await;
    std::fs::remove_file(directory.session_directory().join(format!("{:032x}", 2))).unwrap();
    server.close().await;
    // Now the member serves, and refuses itself.
    let error = member.see_failure().await;
    assert!(matches!(error, LogError::SessionEnded { session: 2 }), "{error}"); // E2
    let refused = bounded(member.log.append(b"x".into())).await;
    assert!(matches!(refused, Err(LogError::SessionEnded { .. })));
    member.close().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_damaged_log_is_refused_by_everyone_and_left_as_it_is() {
    let (_keep, directory) = scratch();
    let member = Member::open(&directory, 1).await;
    for number in 0..3 {
        member.append(&number.to_string()).await;
    }
    bounded(member.log.set_will(b"will".into())).await.unwrap();
    drop(member);
    bounded(async {
        while directory::ServerLock::try_take(&directory).unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut bytes = std::fs::read(directory.log_path()).unwrap();
    bytes[83] ^= 1;
    std::fs::write(directory.log_path(), &bytes).unwrap();
    for session in 1..=2 {
        let mut member = Member::open(&directory, session).await;
        let pending = member.log.append(b"x".into());
        assert!(matches!(member.see_failure().await, LogError::Corrupt { offset: 0, .. }));
        assert!(matches!(bounded(pending).await, Err(LogError::Corrupt { .. })));
        let refused = bounded(member.log.set_will(b"x".into())).await;
        assert!(matches!(refused, Err(LogError::Corrupt { .. })));
        member.close().await;
    }
    assert_eq!(std::fs::read(directory.log_path()).unwrap(), bytes);
    // The first session's dead life still has to be told of, whoever was closed since.
    assert_eq!(session::list(&directory).unwrap(), [1]); // L3
}

#[tokio::test(flavor = "current_thread")]
async fn a_session_has_one_process_and_the_directory_one_owner() {
    let (keep, directory) = scratch();
    let member = Member::open(&directory, 1).await;
    let path = directory.log_path();
    let second = bounded(open(path.parent().unwrap(), 1, LogIndex(1))).await;
    assert!(matches!(second, Err(LogError::SessionInUse { session: 1 })));
    member.append("still alive").await;

    use std::os::unix::fs::PermissionsExt;
    let public = keep.path().join("public");
    std::fs::create_dir(&public).unwrap();
    std::fs::set_permissions(&public, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(public.join("something"), b"of somebody").unwrap();
    let refused = bounded(open(&public, 1, LogIndex(1))).await;
    assert!(matches!(refused, Err(LogError::NotPrivate { mode: 0o755, .. })));
    std::fs::remove_file(public.join("something")).unwrap();
    bounded(open(&public, 1, LogIndex(1))).await.unwrap();
    let mode = std::fs::metadata(&public).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700); // F1
}

#[tokio::test(flavor = "current_thread")]
async fn a_path_too_long_for_a_socket_works() {
    let keep = tempfile::tempdir().unwrap();
    let path = keep.path().join("n".repeat(200));
    let directory = Directory::open(&path).unwrap();
    let first = Member::open(&directory, 1).await;
    let mut second = Member::open(&directory, 2).await;
    first.append("one").await;
    second.append("two").await;
    assert_eq!(second.see("two").await, ["one", "two"]);
}
