//! `dog node md`: the disks of one sheep.

use std::fmt::Write;

use sheepdog_client::admin::types::{Disk, DiskState};

use super::info::percent;
use crate::cli::{Common, MdPath};
use crate::output::{self, Form, Render, escape};
use crate::session::Session;
use crate::size;
use crate::trouble::Trouble;

/// `dog node md info`.
pub(crate) async fn info(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    let disks = session.client.disks().await?;
    output::print(common.form(), &Disks(disks))
}

/// `dog node md plug`.
pub(crate) async fn plug(options: &MdPath) -> Result<(), Trouble> {
    let session = Session::open(&options.common).await?;
    session.client.plug(&options.path).await.map_err(|error| {
        Trouble::from(error).context(format!("cannot put in disk {}", options.path))
    })?;
    let text = "put in; what belongs on it moves there now: see `dog node md info`";
    say(options, "plugged", text)
}

/// `dog node md unplug`.
pub(crate) async fn unplug(options: &MdPath) -> Result<(), Trouble> {
    let session = Session::open(&options.common).await?;
    session.client.unplug(&options.path).await.map_err(|error| {
        Trouble::from(error).context(format!("cannot take out disk {}", options.path))
    })?;
    let text = "leaves; keep it until `dog node md info` no longer shows it";
    say(options, "leaving", text)
}

fn say(options: &MdPath, what: &str, text: &str) -> Result<(), Trouble> {
    let path = &options.path;
    match options.common.form() {
        Form::Json => output::print_text(&format!("{}\n", serde_json::json!({ what: path }))),
        Form::Raw => Ok(()),
        Form::Human => output::print_text(&format!("{path}: {text}\n")),
    }
}

struct Disks(Vec<Disk>);

const fn word(state: DiskState) -> &'static str {
    match state {
        DiskState::Ok => "ok",
        DiskState::Leaving => "leaving",
        DiskState::Failed => "failed",
    }
}

/// State, and what else there is to say of it.
fn shown(disk: &Disk) -> String {
    let mut text = match (disk.state, disk.moving) {
        (DiskState::Ok, 1..) => String::new(),
        (state, _) => word(state).to_owned(),
    };
    if disk.moving > 0 {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}moving, {} left", disk.moving);
    }
    if let Some(reason) = &disk.reason {
        let _ = write!(text, ": {reason}");
    }
    text
}

impl Render for Disks {
    fn human(&self) -> String {
        let mut text = String::from("Id\tSize\tUsed\tAvail\tUse%\tWeight\tBuckets\tPath\tState\n");
        for disk in &self.0 {
            let _ = writeln!(
                text,
                "{:>2}\t{}\t{}\t{}\t{:>3}%\t{}\t{:>7}\t{}\t{}",
                disk.id,
                size::human(disk.size),
                size::human(disk.used),
                size::human(disk.available),
                percent(disk.used, disk.size),
                size::human(disk.weight),
                disk.buckets,
                disk.path,
                shown(disk)
            );
        }
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for disk in &self.0 {
            let Disk { id, size, used, available, weight, buckets, moving, .. } = disk;
            let (path, state) = (escape(&disk.path), word(disk.state));
            let _ = writeln!(
                text,
                "{id} {size} {used} {available} {}% {path} {weight} {buckets} {moving} {state}",
                percent(*used, *size)
            );
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(&self.0)
    }
}
