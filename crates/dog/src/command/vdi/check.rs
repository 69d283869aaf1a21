//! `dog vdi check`: every copy of a VDI is read, verified and compared; what is bad is healed.
//!
//! Way: each sheep that is up is asked for some objects at a time, all of them side by side, so
//!      that nothing is half done when it is stopped.

use std::fmt::Write;

use serde::Serialize;
use sheepdog_client::admin::AdminClient;
use sheepdog_client::admin::types::{CheckRange, Node, VdiCheck};
use tokio::task::JoinSet;

use crate::cli::VdiName;
use crate::output::{self, Render};
use crate::progress::Progress;
use crate::session::{Session, title};
use crate::size;
use crate::trouble::Trouble;

/// Objects asked for at once.
const OBJECTS: u32 = 32;

pub(crate) async fn run(options: &VdiName) -> Result<(), Trouble> {
    let session = Session::open_formatted(&options.common).await?;
    let name = &options.name;
    let vdi = session
        .client
        .vdi(name)
        .await
        .map_err(|error| Trouble::from(error).context(format!("cannot check VDI '{name}'")))?;
    let nodes = session.client.nodes().await?;
    let objects = vdi.size.div_ceil(1 << vdi.object_shift) as u32;
    let mut report = Report { vdi: name.clone(), nodes: Vec::new(), missing: Vec::new() };
    let mut asked = JoinSet::new();
    let (done, mut steps) = tokio::sync::mpsc::unbounded_channel();
    for node in nodes {
        match client(&session, &node) {
            Ok(client) => {
                let (name, done) = (name.clone(), done.clone());
                asked.spawn(async move { (node, check(client, name, objects, done).await) });
            }
            Err(reason) => report.miss(&node, &reason),
        }
    }
    drop(done);
    let step = u64::from(OBJECTS) << vdi.object_shift;
    let mut progress = Progress::new(Some(vdi.size.max(step) * asked.len() as u64));
    while steps.recv().await.is_some() {
        progress.add(step);
    }
    progress.finish();
    for (node, answer) in asked.join_all().await {
        match answer {
            Ok(check) => report.nodes.push(Line { node: node.node, check }),
            Err(reason) => report.miss(&node, &reason),
        }
    }
    report.nodes.sort_by_key(|line| line.node);
    output::print(options.common.form(), &report)?;
    report.end()
}

fn client(session: &Session, node: &Node) -> Result<AdminClient, String> {
    if !node.up {
        return Err("it is down".to_owned());
    }
    if node.this { Ok(session.client.clone()) } else { session.client_at(&node.addresses.admin) }
}

/// All objects, one part after the other.
async fn check(
    client: AdminClient,
    name: String,
    objects: u32,
    done: tokio::sync::mpsc::UnboundedSender<()>,
) -> Result<VdiCheck, String> {
    let mut sum = VdiCheck::default();
    for from in (0..objects.max(1)).step_by(OBJECTS as usize) {
        let range = CheckRange { from, count: OBJECTS };
        let part = client.check(&name, range).await.map_err(|error| error.to_string())?;
        sum.objects += part.objects;
        sum.bytes += part.bytes;
        sum.bad += part.bad;
        sum.healed += part.healed;
        sum.behind += part.behind;
        sum.unequal += part.unequal;
        sum.alone += part.alone;
        let _ = done.send(()); // Nobody may look any more.
    }
    Ok(sum)
}

#[derive(Serialize)]
struct Report {
    vdi: String,
    nodes: Vec<Line>,
    /// Nodes whose copies were not looked at.
    missing: Vec<u16>,
}

#[derive(Serialize)]
struct Line {
    node: u16,
    #[serde(flatten)]
    check: VdiCheck,
}

impl Report {
    fn miss(&mut self, node: &Node, reason: &str) {
        eprintln!("dog: {} is not checked: {reason}", title(node));
        self.missing.push(node.node);
    }

    fn sum(&self, read: impl Fn(&VdiCheck) -> u64) -> u64 {
        self.nodes.iter().map(|line| read(&line.check)).sum()
    }

    /// Blocks that are not good now.
    fn left(&self) -> u64 {
        self.sum(|c| c.bad - c.healed.min(c.bad) + c.behind + c.unequal)
    }

    /// What is not good now is a failure.
    fn end(&self) -> Result<(), Trouble> {
        let (left, bad) = (self.left(), self.sum(|check| check.bad - check.healed.min(check.bad)));
        if left == 0 {
            return Ok(());
        }
        let differ = left - bad;
        let what = format!("{bad} bad blocks are not healed yet, {differ} blocks differ");
        Err(Trouble::failure(what).hint(
            "What has another good copy is fetched in the background: wait until `dog node \
             recovery` says that all is complete and check again. A block that stays bad has no \
             good copy; writing it makes it good.",
        ))
    }
}

impl Render for Report {
    fn human(&self) -> String {
        let mut text =
            String::from("Id   Copies      Read     Bad  Healed  Behind  Unequal  Alone\n");
        for Line { node, check: c } in &self.nodes {
            let _ = writeln!(
                text,
                "{node:>2}{:>9}{:>10}{:>8}{:>8}{:>8}{:>9}{:>7}",
                c.objects,
                size::human(c.bytes),
                c.bad,
                c.healed,
                c.behind,
                c.unequal,
                c.alone
            );
        }
        let is_good = self.sum(|check| check.bad + check.behind + check.unequal) == 0;
        let _ = match (is_good, self.missing.is_empty()) {
            (true, true) => writeln!(text, "\nAll copies of '{}' are good and equal.", self.vdi),
            (true, false) => writeln!(text, "\nThe copies that could be looked at are good."),
            (false, _) if self.left() == 0 => {
                writeln!(text, "\nBlocks of '{}' were bad; they have been healed.", self.vdi)
            }
            (false, _) => writeln!(text, "\nSomething is wrong with '{}'; see above.", self.vdi),
        };
        text
    }

    fn raw(&self) -> String {
        let mut text = String::new();
        for Line { node, check: c } in &self.nodes {
            let _ = writeln!(
                text,
                "{node} {} {} {} {} {} {} {}",
                c.objects, c.bytes, c.bad, c.healed, c.behind, c.unequal, c.alone
            );
        }
        text
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(self)
    }
}
