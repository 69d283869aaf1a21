//! Compares what every life reported with the log as it is in the end.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use sheepdog_cluster::{CoordinationLog, Event, local};
use sheepdog_proto::LogIndex;

use crate::herd::{End, Herd, Life};

/// Session of the observer; no member has it.
const OBSERVER: u128 = 1 << 100;

/// One entry: who, what.
type Line = (u128, String);

/// Reads the whole log as a member of this process, after which every will that is due is in it.
fn observe(directory: &Path, due: &[String]) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (log, mut events) = local::open(directory, OBSERVER, LogIndex(1)).await.unwrap();
        let mut lines: Vec<Line> = Vec::new();
        let mut missing: Vec<&String> = due.iter().collect();
        let mut up_to_date = false;
        while !(up_to_date && missing.is_empty()) {
            let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
            match event.unwrap_or_else(|_| panic!("wills that never came: {missing:?}")) {
                Some(Event::Entry(entry)) => {
                    let text = String::from_utf8(entry.payload.to_vec()).unwrap();
                    missing.retain(|will| **will != text);
                    lines.push((entry.session, text));
                    assert_eq!(entry.index.0, lines.len() as u64, "L1: a gap");
                }
                Some(Event::Connected { .. }) => up_to_date = true,
                Some(Event::Disconnected) => {}
                Some(Event::Failed(error)) => panic!("{error}"),
                None => panic!("the events ended"),
            }
        }
        (Box::new(log) as Box<dyn CoordinationLog>).close().await.unwrap();
        lines
    })
}

/// Checks L1 to L3 for every life of the herd; all of them must have ended. Prints a summary.
pub(crate) fn check(herd: &Herd) {
    assert!(herd.running().is_empty());
    let wills = |end| herd.lives.iter().filter(move |life| life.end == end && life.is_ready());
    let due: Vec<String> = wills(End::Killed).map(Life::will).collect();
    let log = observe(&herd.directory(), &due);
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, (_, text)) in log.iter().enumerate() {
        places.entry(text).or_default().push(place);
    }
    for (text, places) in &places {
        assert_eq!(places.len(), 1, "L2, L3: {text:?} is in the log {} times", places.len());
    }
    let (mut seen, mut answered) = (0, 0);
    for life in &herd.lives {
        seen += check_sequence(life, &log);
        answered += check_answers(life, &log);
        check_will(life, &log, places.get(life.will().as_str()).map(|places| places[0]));
    }
    println!(
        "  {} entries, {} lives ({} killed with a will), {answered} answers and {seen} sightings \
         checked",
        log.len(),
        herd.lives.len(),
        due.len(),
    );
    assert!(answered > 0 && seen > 0);
}

/// L1: what the life saw is the beginning of the log, in order and without gaps.
fn check_sequence(life: &Life, log: &[Line]) -> usize {
    let lines = life.lines();
    let seen = lines.iter().filter_map(|line| line.strip_prefix("see "));
    let mut count = 0;
    for line in seen {
        let (session, text) = log.get(count).unwrap_or_else(|| panic!("{line:?} has vanished"));
        count += 1;
        assert_eq!(line, format!("{count} {session} {text}"), "session {}", life.session);
    }
    count
}

/// L2: every answered append is where the answer says. (That it is nowhere else is checked for
/// all entries.)
fn check_answers(life: &Life, log: &[Line]) -> usize {
    let mut count = 0;
    for line in life.lines() {
        let Some((index, text)) = line.strip_prefix("ok ").and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        let entry = &log[index.parse::<usize>().unwrap() - 1];
        assert_eq!(entry, &(life.session, text.to_owned()));
        count += 1;
    }
    count
}

/// L3: a killed life's will is there, a closed one's is not; nothing of the life follows it.
fn check_will(life: &Life, log: &[Line], will: Option<usize>) {
    match life.end {
        End::Killed if life.is_ready() => assert!(will.is_some(), "{:?} is missing", life.will()),
        End::Killed => {}
        End::Closed => assert_eq!(will, None, "{:?} of a closed session", life.will()),
        End::Running => panic!("a life still runs"),
    }
    let Some(will) = will else { return };
    assert_eq!(log[will].0, life.session);
    let of_this_life = format!("{} {} ", life.session, life.life);
    for (place, (_, text)) in log.iter().enumerate() {
        assert!(!text.starts_with(&of_this_life) || place < will, "{text:?} after the will");
        let of_next_life = format!("{} {} ", life.session, life.life + 1);
        assert!(!text.starts_with(&of_next_life) || place > will, "{text:?} before the will");
    }
}
