//! The rows of the table of faults.

use anyhow::Result;

use super::Figures;
use crate::probe::Client;

/// Copies of everything.
const COPIES: usize = 3;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what the machine itself does to a client.
    None,
    /// SIGKILL of a replica.
    ReplicaKilled,
    /// SIGKILL of a replica that serves the coordination log.
    LogServerKilled,
    /// SIGTERM of a replica, and a start.
    ReplicaRestarted,
    /// SIGTERM of the client's own sheep, and a start.
    GatewayRestarted,
    /// The same, and a service manager keeps its sockets.
    GatewayReplaced,
    /// SIGKILL of the client's own sheep, and a start.
    GatewayKilled,
    /// SIGSTOP of a replica for 15 s.
    ReplicaStopped,
    /// SIGSTOP of the client's own sheep for 15 s.
    GatewayStopped,
    /// Gateway and replica do not hear each other for 15 s.
    CutBothWays,
    /// The replica does not hear the gateway for 15 s.
    ReplicaDeaf,
    /// The gateway does not hear the replica for 15 s.
    GatewayDeaf,
    /// The replica has no carrier for 15 s.
    NoCarrier,
    /// SIGKILL of all at once, and a start.
    AllKilled,
    /// No space on the disk of a replica for 5 s.
    DiskFull,
    /// The disk of a replica does not answer for 15 s.
    DiskHangs,
    /// Each message between sheep takes up to 20 ms more.
    SlowLinks,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What happens.
    pub fault: Fault,
    /// To whom.
    pub client: Client,
    /// Sheep of the herd.
    pub sheep: usize,
}

impl Fault {
    /// For the page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none, 5 s",
            Self::ReplicaKilled => "replica: SIGKILL, later a start",
            Self::LogServerKilled => "replica that serves the log: SIGKILL, later a start",
            Self::ReplicaRestarted => "replica: planned restart",
            Self::GatewayRestarted => "gateway: planned restart",
            Self::GatewayReplaced => "gateway: planned restart, sockets kept",
            Self::GatewayKilled => "gateway: SIGKILL and start",
            Self::ReplicaStopped => "replica: SIGSTOP for 15 s",
            Self::GatewayStopped => "gateway: SIGSTOP for 15 s",
            Self::CutBothWays => "link between gateway and replica cut for 15 s",
            Self::ReplicaDeaf => "replica does not hear the gateway for 15 s",
            Self::GatewayDeaf => "gateway does not hear the replica for 15 s",
            Self::NoCarrier => "replica without carrier for 15 s",
            Self::AllKilled => "all: SIGKILL at once and start",
            Self::DiskFull => "disk of a replica full for 5 s",
            Self::DiskHangs => "disk of a replica hangs for 15 s",
            Self::SlowLinks => "links between sheep 0 to 20 ms slower, 5 s",
        }
    }

    /// Milliseconds that a client is to pause at most.
    const fn target(self) -> Option<u32> {
        match self {
            Self::ReplicaKilled | Self::LogServerKilled | Self::GatewayRestarted => Some(1000),
            Self::ReplicaRestarted | Self::GatewayReplaced => Some(200),
            Self::ReplicaStopped => Some(5000),
            _ => None,
        }
    }

    /// Whether it needs sheep that are apart.
    pub(super) const fn is_of_links(self) -> bool {
        matches!(self, Self::CutBothWays | Self::ReplicaDeaf | Self::GatewayDeaf | Self::NoCarrier)
    }
}

/// All rows.
#[must_use]
pub fn rows() -> Vec<Row> {
    let row = |fault, client| Row { fault, client, sheep: 3 };
    let mut rows = vec![row(Fault::None, Client::Nbd)];
    let everybody = [Client::Nbd, Client::Legacy, Client::Qemu, Client::Qemu52, Client::Tgt];
    for fault in [Fault::ReplicaKilled, Fault::ReplicaRestarted] {
        rows.extend(everybody.map(|client| row(fault, client)));
        rows.push(Row { sheep: 5, ..row(fault, Client::Nbd) });
    }
    rows.push(row(Fault::LogServerKilled, Client::Nbd));
    let own = [Fault::GatewayRestarted, Fault::GatewayReplaced, Fault::GatewayKilled];
    for fault in own.into_iter().chain([Fault::AllKilled]) {
        // QEMU 5.2 may abort when it connects again: see the test of one's own sheep restarted.
        let those = [Client::Nbd, Client::Legacy, Client::Qemu, Client::Tgt];
        rows.extend(those.map(|client| row(fault, client)));
    }
    let rest = [
        Fault::ReplicaStopped,
        Fault::GatewayStopped,
        Fault::CutBothWays,
        Fault::ReplicaDeaf,
        Fault::GatewayDeaf,
        Fault::NoCarrier,
        Fault::DiskFull,
        Fault::DiskHangs,
        Fault::SlowLinks,
    ];
    rows.extend(rest.map(|fault| row(fault, Client::Nbd)));
    rows
}

impl Row {
    /// The first lines of the table.
    #[must_use]
    pub fn head() -> String {
        "| fault | client | sheep | copies | longest pause, ms | target, ms | operations | wrong blocks |\n\
         |---|---|---|---|---|---|---|---|\n"
            .to_owned()
    }

    /// Its line.
    #[must_use]
    pub fn render(&self, measured: &Result<Figures>) -> String {
        let target = self.fault.target().map_or_else(|| "-".to_owned(), |ms| format!("<= {ms}"));
        let (pause, operations, wrong) = match measured {
            Ok(Figures { pause, operations, wrong }) => {
                (pause.as_millis().to_string(), operations.to_string(), wrong.to_string())
            }
            Err(_) => ("failed".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        let (fault, client, sheep) = (self.fault.name(), self.client.name(), self.sheep);
        format!(
            "| {fault} | {client} | {sheep} | {COPIES} | {pause} | {target} | {operations} \
             | {wrong} |\n"
        )
    }
}
