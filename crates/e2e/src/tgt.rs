//! tgt: the iSCSI target whose `sheepdog` backing store speaks the first Sheepdog's protocol.
//!
//! Holds: T1 it is this test's own: another control number and another port than any other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::iscsi::Initiator;
use crate::process::Process;
use crate::tool::Tool;
use crate::wait;

const START: Duration = Duration::from_secs(20);

/// A running tgtd.
#[derive(Debug)]
pub struct Tgt {
    process: Process,
    portal: u16,
    log: PathBuf,
    targets: u32,
}

/// A disk that a tgtd offers.
#[derive(Clone, Debug)]
pub struct Target {
    number: u32,
    portal: u16,
    /// Its iSCSI name.
    pub name: String,
}

impl Tgt {
    /// Starts it on a port of its own, which also is its control number (T1).
    ///
    /// # Errors
    /// If it does not come to answer.
    pub async fn start(portal: u16, place: &Path) -> Result<Self> {
        let (out, log) = (place.join("tgtd.out"), place.join("tgtd.log"));
        let mut command = Command::new("tgtd");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command.args(["-f", "-C", &portal.to_string()]);
        command.args(["--iscsi", &format!("portal=127.0.0.1:{portal}")]);
        let process = Process::start("tgtd", &command, &out, &log)?;
        let mut tgt = Self { process, portal, log, targets: 0 };
        wait::until("tgtd to answer", START, async || {
            if let Some(status) = tgt.process.ended()? {
                bail!("tgtd ended ({status}): {}", tgt.log());
            }
            let show = admin(portal, "show", "system").run().await?;
            Ok(show.status.success().then_some(()))
        })
        .await?;
        Ok(tgt)
    }

    /// Offers a backing store, for example `tcp:127.0.0.1:7000:NAME` or `unix:PATH:NAME`.
    ///
    /// # Errors
    /// If tgt refuses.
    pub async fn offer(&mut self, store: &str) -> Result<Target> {
        self.targets += 1;
        let (number, portal) = (self.targets, self.portal);
        let name = format!("iqn.2026-01.test.sheepdog:disk{number}");
        let tid = ["--tid".to_owned(), number.to_string()];
        let new = |mode| admin(portal, "new", mode).args(&tid);
        new("target").args(["-T", &name]).succeed().await?;
        let unit = new("logicalunit").args(["--lun", "1", "--bstype", "sheepdog"]);
        let made = unit.args(["--backing-store", store]).succeed().await;
        made.with_context(|| self.log())?;
        admin(portal, "bind", "target").args(&tid).args(["-I", "ALL"]).succeed().await?;
        Ok(Target { number, portal, name })
    }

    /// Takes a disk away; tgt then closes it.
    ///
    /// # Errors
    /// If tgt refuses.
    pub async fn withdraw(&self, target: &Target) -> Result<()> {
        let tid = ["--tid".to_owned(), target.number.to_string()];
        let delete = |mode| admin(self.portal, "delete", mode).args(&tid);
        delete("logicalunit").args(["--lun", "1"]).succeed().await?;
        delete("target").arg("--force").succeed().await?;
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it had ended.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Target {
    /// For libiscsi's programs.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("iscsi://127.0.0.1:{}/{}/1", self.portal, self.name)
    }

    /// Logs in.
    ///
    /// # Errors
    /// If the target refuses.
    pub async fn log_in(&self) -> Result<Initiator> {
        Initiator::log_in(self.portal, &self.name).await
    }
}

fn admin(control: u16, operation: &str, mode: &str) -> Tool {
    let tool = Tool::new("tgtadm").args(["-C", &control.to_string(), "--lld", "iscsi"]);
    tool.args(["--op", operation, "--mode", mode]).limit(START)
}
