//! `dog cluster info`: the state of the cluster.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::{Cluster, ClusterStatus, Node};

use crate::cli::Common;
use crate::output::{self, Render};
use crate::session::{Session, host_port};
use crate::size;
use crate::time;
use crate::trouble::Trouble;

pub(crate) async fn run(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    let nodes = session.client.nodes().await?;
    output::print(common.form(), &Info { cluster: session.cluster, nodes })
}

#[derive(Serialize)]
struct Info {
    #[serde(flatten)]
    cluster: Cluster,
    nodes: Vec<Node>,
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
