//! What is done to the herd.

use rustix::process::Signal;

use crate::check::check;
use crate::herd::{Herd, wait_until};

type Scenario = fn();

/// Every scenario, by name.
pub(crate) const ALL: [(&str, Scenario); 9] = [
    ("members_are_killed_and_restarted_at_random", storm),
    ("the_will_of_a_killed_server_is_seen_by_those_who_live", killed_server),
    ("everyone_is_killed_at_once", everyone_killed),
    ("a_stopped_member_holds_up_nobody_and_is_not_dead", stopped_member),
    ("a_stopped_server_goes_on_or_is_killed", stopped_server),
    ("a_member_that_is_silent_for_long_is_held_for_ended", silent_member),
    ("a_server_that_is_silent_for_long_is_killed", silent_server),
    ("a_server_whose_disk_is_full_makes_room_for_another", full_disk),
    ("a_second_process_of_a_session_is_refused", second_process),
];

const ROUNDS: usize = 24;

/// A herd has no more rounds than this: its log and its reports grow with every one.
const HERD_ROUNDS_MAX: usize = 40;

/// A small generator (SplitMix64), so that a printed seed repeats a storm's decisions.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (sheepdog_proto::id::mix64(self.0) % sides as u64) as usize
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

fn storm() {
    let seed = number_from_environment("SHEEPDOG_CLUSTER_SEED")
        .unwrap_or_else(|| u64::from(std::process::id()) | u64::from(start_second()) << 32);
    let rounds = number_from_environment("SHEEPDOG_CLUSTER_ROUNDS").map_or(ROUNDS, |n| n as usize);
    println!("  SHEEPDOG_CLUSTER_SEED={seed} SHEEPDOG_CLUSTER_ROUNDS={rounds}");
    let mut dice = Dice(seed);
    let mut left = rounds;
    while left > 0 {
        let rounds = left.min(HERD_ROUNDS_MAX);
        storm_over_one_herd(rounds, &mut dice);
        left -= rounds;
    }
}

fn storm_over_one_herd(rounds: usize, dice: &mut Dice) {
    let mut herd = Herd::new();
    herd.start_all(3 + dice.roll(3) as u128);
    for _ in 0..rounds {
        disturb(&mut herd, dice);
        if dice.roll(3) > 0 {
            herd.wait_progress(&herd.running());
        }
    }
    for life in herd.running() {
        if dice.roll(2) == 0 {
            herd.lives[life].close();
        } else {
            herd.lives[life].kill();
        }
    }
    check(&herd);
}

fn start_second() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}

/// One round: something happens to one or two members, and they are started again.
fn disturb(herd: &mut Herd, dice: &mut Dice) {
    let running = herd.running();
    let any = running[dice.roll(running.len())];
    let server = herd.server().unwrap_or(any);
    let mut ended = Vec::new();
    match dice.roll(10) {
        0..=2 => ended.push(any),
        3..=5 => ended.push(server),
        6 | 7 => {
            ended.push(any);
            ended.extend((server != any).then_some(server));
        }
        8 => {
            herd.lives[any].signal(Signal::STOP);
            if any != server {
                herd.wait_progress(&[server]);
            }
            herd.lives[any].signal(Signal::CONT);
        }
        _ => {
            herd.lives[any].close();
            herd.start(herd.lives[any].session);
        }
    }
    for life in &ended {
        herd.lives[*life].kill();
    }
    // Sometimes the dead come back before anyone can have noticed, even before they were ready.
    let witnesses = herd.running();
    for life in ended {
        if dice.roll(2) == 0 && herd.lives[life].is_ready() {
            herd.wait_seen(&witnesses, &herd.lives[life].will());
        }
        herd.start(herd.lives[life].session);
    }
}

fn killed_server() {
    let mut herd = Herd::new();
    herd.start_all(4);
    // Each server in turn, until one is left, who serves and sees all wills.
    for _ in 0..3 {
        wait_until("someone serves", || herd.server().is_some());
        let server = herd.server().unwrap();
        herd.lives[server].kill();
        let witnesses = herd.running();
        herd.wait_seen(&witnesses, &herd.lives[server].will());
        herd.wait_progress(&witnesses);
    }
    let last = herd.running()[0];
    herd.lives[last].close();
    check(&herd);
}

fn everyone_killed() {
    let mut herd = Herd::new();
    herd.start_all(4);
    for _ in 0..3 {
        for life in herd.running() {
            herd.lives[life].signal(Signal::KILL);
        }
        for life in herd.running() {
            herd.lives[life].kill();
        }
        let new: Vec<usize> = (2..=4).map(|session| herd.start(session)).collect();
        wait_until("the new lives are ready", || {
            new.iter().all(|life| herd.lives[*life].is_ready())
        });
        // Session 1 stays away; those who live appended its will.
        let away = herd.lives.iter().rfind(|life| life.session == 1).unwrap().will();
        herd.wait_seen(&new, &away);
        let back = herd.start(1);
        herd.wait_progress(&[back]);
        wait_until("it is ready", || herd.lives[back].is_ready());
    }
    for life in herd.running() {
        herd.lives[life].close();
    }
    check(&herd);
}

/// Three members, of whom one has been stopped: it, and the others.
fn with_one_stopped(choose: impl Fn(usize) -> usize) -> (Herd, usize, Vec<usize>) {
    let mut herd = Herd::new();
    herd.start_all(3);
    wait_until("someone serves", || herd.server().is_some());
    let stopped = choose(herd.server().expect("someone serves"));
    let others = herd.running().into_iter().filter(|life| *life != stopped).collect();
    herd.lives[stopped].signal(Signal::STOP);
    (herd, stopped, others)
}

fn stopped_member() {
    let (mut herd, stopped, others) = with_one_stopped(|server| (server + 1) % 3);
    for _ in 0..10 {
        herd.wait_progress(&others);
    }
    herd.lives[stopped].signal(Signal::CONT);
    herd.wait_progress(&[stopped]);
    assert!(!herd.lives[others[0]].has_seen_will(&herd.lives[stopped].will()));
    for life in herd.running() {
        herd.lives[life].close(); // A will that came nevertheless would be found by the check.
    }
    check(&herd);
}

fn stopped_server() {
    let mut herd = Herd::new();
    herd.start_all(3);
    for is_killed in [false, true] {
        wait_until("someone serves", || herd.server().is_some());
        let server = herd.server().unwrap();
        herd.lives[server].signal(Signal::STOP);
        // A member that starts now finds a server that does not answer, and waits.
        let late = herd.start(if is_killed { 5 } else { 4 });
        if is_killed {
            herd.lives[server].kill();
        } else {
            herd.lives[server].signal(Signal::CONT);
        }
        wait_until("the late member is ready", || herd.lives[late].is_ready());
        let running = herd.running();
        herd.wait_progress(&running);
        if is_killed {
            herd.wait_seen(&running, &herd.lives[server].will());
        }
    }
    for life in herd.running() {
        herd.lives[life].close();
    }
    check(&herd);
}

fn silent_member() {
    let (mut herd, stopped, others) = with_one_stopped(|server| (server + 1) % 3);
    herd.wait_seen(&others, &herd.lives[stopped].will());
    herd.wait_progress(&others);
    herd.lives[stopped].signal(Signal::CONT);
    let report = herd.lives[stopped].wait_failure();
    assert!(report.contains("was declared ended while it lived"), "{report}");
    // Its next life is as welcome as any.
    let next = herd.start(herd.lives[stopped].session);
    wait_until("the next life is ready", || herd.lives[next].is_ready());
    for life in herd.running() {
        herd.lives[life].close();
    }
    check(&herd);
}

fn silent_server() {
    let (mut herd, server, others) = with_one_stopped(|server| server);
    herd.wait_seen(&others, &herd.lives[server].will());
    herd.wait_progress(&others);
    herd.lives[server].wait_killed();
    for life in herd.running() {
        herd.lives[life].close();
    }
    check(&herd);
}

fn second_process() {
    let mut herd = Herd::new();
    herd.start_all(2);
    let report = herd.start_twin(2);
    assert!(report.starts_with("refused session 0"), "{report}");
    assert!(report.contains("is in use by another running process"), "{report}");
    herd.wait_progress(&herd.running());
    for life in herd.running() {
        herd.lives[life].close();
    }
    check(&herd);
}

fn full_disk() {
    let mut herd = Herd::new();
    let full = herd.start_on_full_disk(1);
    wait_until("the first member is ready", || herd.lives[full].is_ready());
    wait_until("the first member serves", || herd.server() == Some(full));
    let other = herd.start(2);
    wait_until("the second member is ready", || herd.lives[other].is_ready());
    // Its last write was torn by the limit: the other one cuts it and goes on.
    let log = herd.directory().join("log");
    wait_until("the log grows beyond the limit", || {
        std::fs::metadata(&log).unwrap().len() > 110 << 10
    });
    assert_eq!(herd.server(), Some(other));
    herd.wait_progress(&[full, other]);
    herd.lives[full].close();
    herd.lives[other].close();
    check(&herd);
}
