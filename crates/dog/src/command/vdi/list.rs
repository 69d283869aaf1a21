//! `dog vdi list`: the VDIs of the cluster.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::{ErrorCode, Vdi};

use crate::cli::VdiList;
use crate::output::{self, Render, escape};
use crate::session::{Session, Survey};
use crate::size;
use crate::time;
use crate::trouble::Trouble;

/// Narrowest column of names.
const NAME_WIDTH_MIN: usize = 8;

pub(crate) async fn run(options: &VdiList) -> Result<(), Trouble> {
    let session = Session::open_formatted(&options.common).await?;
    let mut vdis = session.client.vdis().await?;
    if let Some(name) = &options.name {
        vdis.retain(|vdi| vdi.name == *name);
        if vdis.is_empty() {
            let mut trouble = Trouble::failure(format!("no VDI is named '{name}'"))
                .hint("`dog vdi list` shows the VDIs that exist.");
            trouble.code = Some(ErrorCode::NotFound);
            return Err(trouble);
        }
    }
    vdis.sort_by_key(|vdi| vdi.vid);
    let nodes = session.client.nodes().await?;
    let survey = session.survey(&nodes).await;
    for line in survey.silent.values() {
        eprintln!("dog: {line}: some used space is not counted");
    }
    let entries = vdis.into_iter().map(|vdi| Entry::new(vdi, &survey)).collect();
    output::print(options.common.form(), &List(entries))
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    vdi: Vdi,
    /// Bytes of its own objects, each counted once and whole.
    used: u64,
    /// Bytes of objects that belong to an ancestor; nothing is shared without clones.
    shared: u64,
}

impl Entry {
    fn new(vdi: Vdi, survey: &Survey) -> Self {
        let counts = survey.nodes.values().filter_map(|info| info.objects.get(&vdi.vid));
        let used = counts.sum::<u64>() << vdi.object_shift;
        Self { vdi, used, shared: 0 }
    }

    const fn flag(&self, working: char) -> char {
        if self.vdi.snapshot_ms.is_some() { 's' } else { working }
    }

    /// Clients of the first Sheepdog expect 0 for a working VDI.
    const fn id(&self) -> u32 {
        if self.vdi.snapshot_ms.is_some() { self.vdi.snap_id } else { 0 }
    }
}

struct List(Vec<Entry>);

impl Render for List {
    fn human(&self) -> String {
        let widths = self.0.iter().map(|entry| entry.vdi.name.chars().count());
        let width = widths.max().unwrap_or(0).max(NAME_WIDTH_MIN);
        let mut text = format!(
            "  {:<width$}    Id    Size    Used  Shared    Created (UTC)   VDI id  Copies  Tag   \
             Block Size Shift  Open at\n",
            "Name"
        );
        for entry in &self.0 {
            let Entry { vdi, used, shared } = entry;
            let open = vdi.attachment.as_ref();
            let open =
                open.map_or_else(|| "-".to_owned(), |holder| format!("node {}", holder.node));
            let _ = writeln!(
                text,
                "{} {:<width$} {:>5}{:>8}{:>8}{:>8} {}{:>9}{:>7}{:>14}{:>4}         {open}",
                entry.flag(' '),
                vdi.name,
                entry.id(),
                size::human(vdi.size),
                size::human(*used),
                size::human(*shared),
                time::to_minute(vdi.created_ms),
                vdi.vid,
                vdi.copies_placed,
                vdi.tag,
                vdi.object_shift
            );
        }
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for entry in &self.0 {
            let Entry { vdi, used, shared } = entry;
            let _ = writeln!(
                text,
                "{} {} {} {} {used} {shared} {} {} {} {} {}",
                entry.flag('='),
                escape(&vdi.name),
                entry.id(),
                vdi.size,
                vdi.created_ms / 1000,
                vdi.vid,
                vdi.copies_placed,
                escape(&vdi.tag),
                vdi.object_shift
            );
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(&self.0)
    }
}

#[cfg(test)]
#[path = "list/tests.rs"]
mod tests;
