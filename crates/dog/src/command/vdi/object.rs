//! `dog vdi object location`: which sheep hold an object.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::{Node, ObjectCopy, ObjectPlace, Vdi};

use crate::cli::ObjectLocation;
use crate::output::{self, Render};
use crate::session::{Session, host_port};
use crate::trouble::Trouble;

pub(crate) async fn run(options: &ObjectLocation) -> Result<(), Trouble> {
    let session = Session::open_formatted(&options.common).await?;
    let (name, index) = (&options.name, options.index);
    let vdi = session.client.vdi(name).await?;
    let place = session.client.object(name, index).await.map_err(|error| {
        Trouble::from(error).context(format!("cannot locate object {index} of VDI '{name}'"))
    })?;
    let nodes = session.client.nodes().await?;
    output::print(options.common.form(), &Location { vdi, place, nodes })
}

#[derive(Serialize)]
struct Location {
    #[serde(skip)]
    vdi: Vdi,
    #[serde(flatten)]
    place: ObjectPlace,
    #[serde(skip)]
    nodes: Vec<Node>,
}

impl Location {
    fn address(&self, node: u16) -> String {
        let known = self.nodes.iter().find(|known| known.node == node);
        known.map_or_else(|| format!("node {node}"), |node| host_port(node).to_owned())
    }

    fn addresses(&self, nodes: &[u16]) -> String {
        nodes.iter().map(|node| self.address(*node)).collect::<Vec<_>>().join(" ")
    }
}

impl Render for Location {
    fn human(&self) -> String {
        let place = &self.place;
        let mut text = format!(
            "Looking for the object {} (vid 0x{} idx {}, {} copies) with {} nodes\n\n",
            place.oid,
            self.vdi.vid,
            place.index,
            self.vdi.copies_placed,
            self.nodes.len()
        );
        for ObjectCopy { node, held } in &place.copies {
            let says = match held {
                Some(true) => "has the object",
                Some(false) => "has no such object",
                None => "cannot be asked",
            };
            let stale = if place.in_sync.contains(node) { "" } else { " (not in sync)" };
            let _ = writeln!(text, "{} {says}{stale}", self.address(*node));
        }
        if !place.allocated {
            text += "\nThe object is not allocated: it reads as zeros.\n";
        }
        let _ = write!(
            text,
            "\nPlacement group {} puts it at (view {}):\n{}\nIn sync:\n{}\n",
            place.group,
            place.view,
            self.addresses(&place.targets),
            self.addresses(&place.in_sync)
        );
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for ObjectCopy { node, held } in &self.place.copies {
            let held = match held {
                Some(true) => "held",
                Some(false) => "absent",
                None => "unknown",
            };
            let synced = if self.place.in_sync.contains(node) { "in-sync" } else { "stale" };
            let target = if self.place.targets.contains(node) { "target" } else { "other" };
            let _ = writeln!(text, "{node} {} {held} {synced} {target}", self.address(*node));
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(self)
    }
}
