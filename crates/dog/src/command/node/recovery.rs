//! `dog node recovery`: which sheep lack copies, and how far they are in fetching them.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::{NodeInfo, Recovery};

use crate::cli::Common;
use crate::output::{self, Render};
use crate::session::Session;
use crate::size;
use crate::time;
use crate::trouble::Trouble;

pub(crate) async fn run(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    let nodes = session.client.nodes().await?;
    let survey = session.survey(&nodes).await;
    for line in survey.down.values().chain(survey.silent.values()) {
        eprintln!("dog: {line}: it fetches nothing now");
    }
    let missing = survey.down.keys().chain(survey.silent.keys()).copied().collect();
    let nodes = survey.nodes.into_values().map(Line::from).collect();
    output::print(common.form(), &Progress { nodes, missing })
}

#[derive(Serialize)]
struct Progress {
    nodes: Vec<Line>,
    /// Nodes that are down or cannot be asked.
    missing: Vec<u16>,
}

#[derive(Serialize)]
struct Line {
    node: u16,
    #[serde(flatten)]
    recovery: Recovery,
}

impl From<NodeInfo> for Line {
    fn from(info: NodeInfo) -> Self {
        Self { node: info.node, recovery: info.recovery }
    }
}

pub(crate) const fn is_busy(recovery: &Recovery) -> bool {
    recovery.groups_waiting + recovery.groups_joining > 0
}

/// About how long it will still take.
fn left(recovery: &Recovery) -> String {
    match (is_busy(recovery), recovery.seconds_left) {
        (false, _) => "-".to_owned(),
        (true, None) => "unknown".to_owned(),
        (true, Some(seconds)) => time::about(seconds),
    }
}

impl Render for Progress {
    fn human(&self) -> String {
        let mut text = String::from(
            "Id  Waiting  Joining    Done  Accepted  Compared  Dropped   Fetched        Left\n",
        );
        for Line { node, recovery: r } in &self.nodes {
            let _ = writeln!(
                text,
                "{node:>2}{:>9}{:>9}{:>8}{:>10}{:>10}{:>9}{:>10}{:>12}",
                r.groups_waiting,
                r.groups_joining,
                r.groups_done,
                r.objects_accepted,
                r.objects_compared,
                r.objects_dropped,
                size::human(r.bytes_fetched),
                left(r)
            );
        }
        let is_busy = |line: &&Line| is_busy(&line.recovery);
        let busy: Vec<String> =
            self.nodes.iter().filter(is_busy).map(|line| line.node.to_string()).collect();
        let _ = match (busy.is_empty(), self.missing.is_empty()) {
            (true, true) => writeln!(text, "\nEvery sheep holds all the copies that it should."),
            (true, false) => writeln!(text, "\nEvery sheep that is up holds all its copies."),
            (false, _) => writeln!(text, "\nNode {} still fetches copies.", busy.join(", ")),
        };
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for Line { node, recovery: r } in &self.nodes {
            let _ = writeln!(
                text,
                "{node} {} {} {} {} {} {} {} {}",
                r.groups_waiting,
                r.groups_joining,
                r.groups_done,
                r.objects_accepted,
                r.objects_compared,
                r.objects_dropped,
                r.bytes_fetched,
                r.seconds_left.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string())
            );
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(self)
    }
}
