//! `dog node info`: the space of each sheep and in total.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::NodeInfo;

use crate::cli::Common;
use crate::output::{self, Render};
use crate::session::Session;
use crate::size;
use crate::trouble::Trouble;

pub(crate) async fn run(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    let nodes = session.client.nodes().await?;
    let vdis = session.client.vdis().await?;
    let survey = session.survey(&nodes).await;
    for line in survey.down.values().chain(survey.silent.values()) {
        eprintln!("dog: {line}: its space is not counted");
    }
    for trouble in survey.nodes.values().flat_map(|info| &info.troubles) {
        eprintln!("dog: {trouble}");
    }
    let sum = |part: fn(&NodeInfo) -> u64| survey.nodes.values().map(part).sum();
    let total = Total {
        size: sum(|info| info.size),
        used: sum(|info| info.used),
        available: sum(|info| info.available),
        vdi_size: vdis.iter().map(|vdi| vdi.size).sum(),
    };
    let missing = survey.down.keys().chain(survey.silent.keys()).copied().collect();
    let nodes = survey.nodes.into_values().collect();
    output::print(common.form(), &Info { nodes, missing, total })
}

#[derive(Serialize)]
struct Info {
    nodes: Vec<NodeInfo>,
    /// Nodes that are down or cannot be asked.
    missing: Vec<u16>,
    total: Total,
}

#[derive(Serialize)]
struct Total {
    size: u64,
    used: u64,
    available: u64,
    vdi_size: u64,
}

pub(super) fn percent(used: u64, size: u64) -> u64 {
    (u128::from(used) * 100).checked_div(u128::from(size)).unwrap_or(0) as u64
}

impl Render for Info {
    fn human(&self) -> String {
        let mut text = String::from("Id\tSize\tUsed\tAvail\tUse%\n");
        let mut line = |id: String, size: u64, used: u64, available: u64| {
            let (percent, size) = (percent(used, size), size::human(size));
            let (used, available) = (size::human(used), size::human(available));
            let _ = writeln!(text, "{id}\t{size}\t{used}\t{available}\t{percent:>3}%");
        };
        for node in &self.nodes {
            line(format!("{:>2}", node.node), node.size, node.used, node.available);
        }
        let total = &self.total;
        line("Total".to_owned(), total.size, total.used, total.available);
        let _ = writeln!(text, "\nTotal virtual image size\t{}", size::human(total.vdi_size));
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for NodeInfo { node, size, used, available, .. } in &self.nodes {
            let _ = writeln!(text, "{node} {size} {used} {available} {}%", percent(*used, *size));
        }
        let Total { size, used, available, vdi_size } = &self.total;
        let percent = percent(*used, *size);
        let _ = writeln!(text, "Total {size} {used} {available} {percent}% {vdi_size}");
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(self)
    }
}
