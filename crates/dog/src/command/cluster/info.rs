//! `dog cluster info`: the state of the cluster.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::{self, Cluster, ClusterStatus, Node};

use crate::cli::Common;
use crate::command::node::recovery::is_busy;
use crate::output::{self, Render};
use crate::session::{Session, host_port};
use crate::size;
use crate::time;
use crate::trouble::Trouble;

pub(crate) async fn run(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    let nodes = session.client.nodes().await?;
    let is_clean = session.cluster.classes.iter().all(|class| class.clean == class.total);
    let recovery = if is_clean { None } else { Recovery::ask(&session, &nodes).await };
    output::print(common.form(), &Info { cluster: session.cluster, nodes, recovery })
}

#[derive(Serialize)]
struct Info {
    #[serde(flatten)]
    cluster: Cluster,
    nodes: Vec<Node>,
    /// Absent where no sheep fetches copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
}

/// Copies that are being fetched.
#[derive(Serialize)]
struct Recovery {
    /// Sheep that fetch some.
    nodes: Vec<u16>,
    /// Copies of placement groups that are missing.
    copies_left: u64,
    /// Until the last sheep has all; absent if one of them cannot say.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

impl Recovery {
    async fn ask(session: &Session, nodes: &[Node]) -> Option<Self> {
        let survey = session.survey(nodes).await;
        let busy = survey.nodes.values().filter(|info| is_busy(&info.recovery));
        let busy: Vec<_> = busy.map(|info| (info.node, info.recovery)).collect();
        let left = |r: &types::Recovery| u64::from(r.groups_waiting + r.groups_joining);
        let seconds: Option<Vec<u64>> = busy.iter().map(|(_, r)| r.seconds_left).collect();
        (!busy.is_empty()).then(|| Self {
            nodes: busy.iter().map(|(node, _)| *node).collect(),
            copies_left: busy.iter().map(|(_, r)| left(r)).sum(),
            seconds_left: seconds.and_then(|seconds| seconds.into_iter().max()),
        })
    }

    fn line(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(u16::to_string).collect();
        let left = self.seconds_left.map_or_else(
            || "how long that takes cannot be said yet".to_owned(),
            |seconds| format!("about {} left", time::about(seconds)),
        );
        let (copies, nodes) = (self.copies_left, nodes.join(", "));
        format!("Recovery: node {nodes} fetches copies of {copies} placement groups, {left}\n")
    }
}

impl Info {
    const fn status(&self) -> &'static str {
        match self.cluster.status {
            ClusterStatus::Running => "running",
            ClusterStatus::WaitingForFormat => "Waiting for cluster to be formatted",
            ClusterStatus::Stopping => "shutting down",
        }
    }

    fn classes(&self) -> String {
        let mut text = String::from(
            "\nClass  Copies  Now  Groups   Clean  Moving  Degraded  Waiting  \
             Unavailable\n",
        );
        for class in &self.cluster.classes {
            let _ = writeln!(
                text,
                "{:>5}{:>8}{:>5}{:>8}{:>8}{:>8}{:>10}{:>9}{:>13}",
                class.policy,
                class.copies,
                class.copies_placed,
                class.total,
                class.clean,
                class.moving,
                class.degraded,
                class.waiting,
                class.unavailable
            );
        }
        text
    }

    fn herd(&self) -> String {
        let up = self.nodes.iter().filter(|node| node.up);
        let names: Vec<String> =
            up.map(|node| format!("{}:{}", host_port(node), node.weight)).collect();
        names.join(", ")
    }
}

impl Render for Info {
    fn human(&self) -> String {
        let cluster = &self.cluster;
        let mut text = format!("Cluster status: {}\n", self.status());
        if let Some(format) = &cluster.format {
            let created = time::to_second(format.created_ms);
            let object = size::human(1 << format.object_shift);
            let _ = write!(
                text,
                "\nCluster created at {created} UTC\nCluster id: {}\n\
                 Default: {} copies, {object} objects\n",
                format.cluster, format.copies
            );
        }
        let _ = writeln!(
            text,
            "Nodes: {} up of {}\nLog index: {}",
            cluster.nodes_up, cluster.nodes_known, cluster.log_index
        );
        if !cluster.classes.is_empty() {
            text += &self.classes();
        }
        if let Some(recovery) = &self.recovery {
            text += &format!("\n{}", recovery.line());
        }
        for warning in &cluster.warnings {
            let _ = write!(text, "\nWarning: {}\n         {}\n", warning.message, warning.action);
        }
        text
    }

    fn raw(&self) -> String {
        let mut text = format!("{}\n", self.status());
        if let Some(format) = &self.cluster.format {
            let (seconds, index) = (format.created_ms / 1000, self.cluster.log_index);
            let _ = writeln!(text, "{seconds} {index} [{}]", self.herd());
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(self)
    }
}
