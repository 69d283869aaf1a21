//! `dog vdi lock`: who has which VDI open, and how it is taken from them.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::types::{Holder, Unlock, Vdi};

use crate::cli::{Common, VdiUnlock};
use crate::confirm::confirm;
use crate::output::{self, Form, Render, escape};
use crate::session::Session;
use crate::time;
use crate::trouble::Trouble;

pub(crate) async fn list(common: &Common) -> Result<(), Trouble> {
    let session = Session::open_formatted(common).await?;
    let mut vdis = session.client.vdis().await?;
    vdis.sort_by(|a, b| a.name.cmp(&b.name));
    let locks = vdis.into_iter().filter_map(|Vdi { name, vid, attachment, .. }| {
        Some(Lock { name, vid: vid.to_string(), holder: attachment? })
    });
    output::print(common.form(), &Locks(locks.collect()))
}

pub(crate) async fn unlock(options: &VdiUnlock) -> Result<(), Trouble> {
    let VdiUnlock { name, yes, common } = options;
    let session = Session::open_formatted(common).await?;
    let fail = |error| Trouble::from(error).context(format!("cannot unlock VDI '{name}'"));
    let vdi = session.client.vdi(name).await.map_err(fail)?;
    if let (Some(holder), false) = (&vdi.attachment, *yes) {
        let question = format!(
            "'{name}' is open through node {} since {} UTC. Its client is cut off: a VM that uses \
             it gets I/O errors.",
            holder.node,
            time::to_minute(holder.since_ms)
        );
        confirm(&question, "Answer yes, or give -y (--yes) to unlock without being asked.")?;
    }
    session.client.unlock(name, Unlock { here: false }).await.map_err(fail)?;
    if common.form() != Form::Json {
        return Ok(());
    }
    output::print_text(&format!("{}\n", serde_json::json!({ "unlocked": name })))
}

#[derive(Serialize)]
struct Lock {
    name: String,
    vid: String,
    #[serde(flatten)]
    holder: Holder,
}

#[derive(Serialize)]
struct Locks(Vec<Lock>);

impl Render for Locks {
    fn human(&self) -> String {
        let mut text = String::from("Since (UTC)         Node  Generation  VDI id  Name\n");
        for Lock { name, vid, holder } in &self.0 {
            let since = time::to_minute(holder.since_ms);
            let _ = writeln!(
                text,
                "{since:<18}{:>6}{:>12}  {vid:>6}  {name}",
                holder.node, holder.generation
            );
        }
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for Lock { name, vid, holder } in &self.0 {
            let (since, node) = (holder.since_ms / 1000, holder.node);
            let _ = writeln!(text, "{} {vid} {node} {since} {}", escape(name), holder.generation);
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(&self.0)
    }
}
