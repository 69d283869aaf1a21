//! `dog node list`: the sheep of the cluster.

use std::fmt::Write;

use sheepdog_client::admin::types::Node;

use crate::cli::Common;
use crate::output::{self, Render};
use crate::session::{Session, host_port};
use crate::trouble::Trouble;

pub(crate) async fn run(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    let nodes = session.client.nodes().await?;
    output::print(common.form(), &List(nodes))
}

struct List(Vec<Node>);

impl Render for List {
    fn human(&self) -> String {
        let mut text = String::from("  Id   Host:Port         V-Nodes       Zone   State\n");
        for node in &self.0 {
            let state = match (node.up, node.out) {
                (true, _) => "up",
                (false, false) => "down",
                (false, true) => "out",
            };
            let _ = writeln!(
                text,
                "{:>4}   {:<18}{:>7}{:>11}   {state}",
                node.node,
                host_port(node),
                node.weight,
                node.zone
            );
        }
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for node in self.0.iter().filter(|node| node.up) {
            let _ =
                writeln!(text, "{} {} {} {}", node.node, host_port(node), node.weight, node.zone);
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(&self.0)
    }
}
