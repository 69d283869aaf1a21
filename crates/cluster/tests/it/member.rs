//! A member process: appends without end, reports every answer and every entry it sees.
//!
//! Reports, one line each, written at once, to a file of this life:
//!   `ready` the will is set; `ok INDEX TEXT` an append was answered; `see INDEX SESSION TEXT`
//!   an entry came; `up`, `down` the log's state; `closed`; `refused ERROR`.
//! The word `close` on standard input ends the session in order; its end (the parent has died)
//! ends the process without.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use sheepdog_cluster::{CoordinationLog, Event, LogError, local};
use sheepdog_proto::LogIndex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Environment variable: `SESSION LIFE REPORT DIRECTORY`.
pub(crate) const ROLE: &str = "SHEEPDOG_CLUSTER_MEMBER";

/// Environment variable: if set, entries are seen without a report.
pub(crate) const QUIET: &str = "SHEEPDOG_CLUSTER_QUIET";

/// Appends that a member has under way at one time.
const UNDER_WAY: usize = 4;

pub(crate) fn will_text(session: u128, life: u32) -> String {
    format!("will {session} {life}")
}

pub(crate) fn run(role: &str) -> ExitCode {
    let mut words = role.splitn(4, ' ');
    let mut word = || words.next().expect("a role has four words");
    let session = word().parse().expect("session");
    let life = word().parse().expect("life");
    let report = File::options().append(true).create(true).open(word()).expect("report");
    let directory = Path::new(word());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let is_quiet = std::env::var_os(QUIET).is_some();
    let life = Life { session, life, report: Arc::new(report), is_quiet };
    match runtime.expect("runtime").block_on(life.live(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            life.say(&format!("refused {error}"));
            ExitCode::FAILURE
        }
    }
}

struct Life {
    session: u128,
    life: u32,
    report: Arc<File>,
    is_quiet: bool,
}

impl Life {
    fn say(&self, line: &str) {
        let line = format!("{line}\n");
        let written = (&*self.report).write(line.as_bytes()).expect("report");
        assert_eq!(written, line.len());
    }

    async fn live(&self, directory: &Path) -> Result<(), LogError> {
        let mut orders = orders();
        let (log, mut events) = local::open(directory, self.session, LogIndex(1)).await?;
        let log = Box::new(log);
        let mut answers: JoinSet<(String, Result<LogIndex, LogError>)> = JoinSet::new();
        let will = log.set_will(will_text(self.session, self.life).into());
        let mut ready = tokio::spawn(will);
        let mut is_ready = false;
        let mut count = 0_u32;
        let mut closing = false;
        while !(closing && answers.is_empty()) {
            while !closing && answers.len() < UNDER_WAY {
                count += 1;
                let text = format!("{} {} {count}", self.session, self.life);
                let answer = log.append(text.clone().into());
                answers.spawn(async move { (text, answer.await) });
            }
            tokio::select! {
                outcome = &mut ready, if !is_ready => {
                    outcome.expect("task")?;
                    is_ready = true;
                    self.say("ready");
                }
                Some(answer) = answers.join_next() => {
                    let (text, index) = answer.expect("task");
                    self.say(&format!("ok {} {text}", index?));
                }
                event = events.next() => self.see(event)?,
                close = orders.recv() => match close {
                    Some(()) => closing = true,
                    None => std::process::exit(9),
                }
            }
        }
        (log as Box<dyn CoordinationLog>).close().await?;
        self.say("closed");
        Ok(())
    }

    fn see(&self, event: Option<Event>) -> Result<(), LogError> {
        match event {
            Some(Event::Entry(_)) if self.is_quiet => {}
            Some(Event::Entry(entry)) => {
                let text = String::from_utf8_lossy(&entry.payload);
                self.say(&format!("see {} {} {text}", entry.index, entry.session));
            }
            Some(Event::Connected { .. }) => self.say("up"),
            Some(Event::Disconnected) => self.say("down"),
            Some(Event::Failed(error)) => return Err(error),
            None => return Err(LogError::Closed),
        }
        Ok(())
    }
}

/// Lines of standard input; the channel closes with it.
fn orders() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || sender.blocking_send(()).is_err() {
                return;
            }
        }
    });
    receiver
}
