//! The disks of this sheep: which there are, what is on each, and what to do when one fails.
//!
//! Why: a disk that fails must cost no more than its own copies.
//! Way: `open` finds the disks at the start; then the control thread directs: it alone changes the
//!      table, appends `Demote`, and gives the shards their orders ([`DiskOrder`]).
//! Holds:
//!   DK1 a table is durable before a shard hears of it;
//!   DK2 a bucket of a disk that cannot be used gets another one, where nothing of it is, only
//!       when this sheep is in sync with no group that has a part in it: it never answers from a
//!       store that may lack acknowledged writes. Until then nobody is answered for the bucket;
//!   DK3 a sheep none of whose disks can be used ends.
//! Not here: the table's form (store), who is in sync (engine).

pub(crate) mod group;
mod moves;
pub(crate) mod open;
mod plug;
mod rest;
pub(crate) mod store;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::command::Command;
use sheepdog_store::{DiskDirectory, DiskEntry, DiskState, DiskTable, Home};
use tokio::sync::watch as channel;

use crate::shard::disk::DiskOrder;
use crate::shared::Shared;
use moves::{Moves, tell_all};
pub(crate) use plug::Plugged;
use rest::Rest;
use store::StoreSettings;

/// After so long without effect a demotion is proposed again.
const PROPOSE_AGAIN: Duration = Duration::from_secs(2);

/// One disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// `None` if it could not be used when the sheep started.
    directory: Option<DiskDirectory>,
    /// Why it cannot be used.
    failure: Option<String>,
    /// Lives as long as the disk is watched.
    watched: Arc<()>,
}

impl Disk {
    const fn works(&self) -> bool {
        self.failure.is_none()
    }
}

/// What others may know of a disk.
#[derive(Clone, Debug)]
pub(crate) struct DiskView {
    pub(crate) slot: u8,
    pub(crate) entry: DiskEntry,
    /// Buckets that it holds.
    pub(crate) buckets: usize,
    /// Buckets that are to move to it or away from it.
    pub(crate) moving: usize,
    /// Groups whose last complete copy it has, though it cannot be used.
    pub(crate) stuck: usize,
    pub(crate) failure: Option<String>,
    /// Why it takes no part for a while.
    pub(crate) rest: Option<String>,
    /// Why buckets cannot move to it, or away from it, now.
    pub(crate) hindrance: Option<String>,
}

/// All disks, for whoever asks.
pub(crate) type DiskWatch = channel::Receiver<Arc<Vec<DiskView>>>;

/// Directs the disks.
pub(crate) struct Disks {
    settings: StoreSettings,
    /// Keeps the directory locked for the life of the sheep.
    home: Home,
    /// As in the home; the home has none as long as its own directory is the only disk.
    table: DiskTable,
    disks: BTreeMap<u8, Disk>,
    view: channel::Sender<Arc<Vec<DiskView>>>,
    proposed: Option<Instant>,
    /// By slot: groups whose last complete copy is on a disk that cannot be used.
    stuck: BTreeMap<u8, usize>,
    moves: Moves,
    /// Disks that were slow, by slot.
    rests: BTreeMap<u8, Rest>,
    /// A disk is being made ready.
    is_plugging: bool,
    /// Disks that the shards let go of.
    closing: BTreeSet<u8>,
    /// Disks that left the table and of which the stores are being removed.
    releasing: BTreeMap<u8, DiskEntry>,
}

impl Disks {
    pub(crate) fn new(
        settings: StoreSettings,
        home: Home,
        table: DiskTable,
        disks: BTreeMap<u8, Disk>,
    ) -> Self {
        let view = channel::Sender::new(Arc::new(Vec::new()));
        let disks = Self {
            settings,
            home,
            table,
            disks,
            view,
            proposed: None,
            stuck: BTreeMap::new(),
            moves: Moves::default(),
            rests: BTreeMap::new(),
            is_plugging: false,
            closing: BTreeSet::new(),
            releasing: BTreeMap::new(),
        };
        disks.show();
        disks
    }

    pub(crate) const fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) const fn home_mut(&mut self) -> &mut Home {
        &mut self.home
    }

    pub(crate) const fn table(&self) -> &DiskTable {
        &self.table
    }

    pub(crate) fn watch(&self) -> DiskWatch {
        self.view.subscribe()
    }

    fn show(&self) {
        let wanted = self.table.wanted();
        let all = || self.table.buckets.iter().zip(&wanted);
        let view = |(slot, entry): (&u8, &DiskEntry)| DiskView {
            slot: *slot,
            entry: entry.clone(),
            buckets: all().filter(|(on, _)| *on == slot).count(),
            moving: all().filter(|(on, shall)| (*on == slot) != (*shall == slot)).count(),
            stuck: self.stuck.get(slot).copied().unwrap_or_default(),
            failure: self.disks.get(slot).and_then(|disk| disk.failure.clone()),
            rest: self.rest_of(*slot),
            hindrance: self
                .moves
                .hindrance
                .clone()
                .filter(|(at, _)| at == slot)
                .map(|(_, why)| why),
        };
        self.view.send_replace(Arc::new(
            self.table.disks.iter().chain(&self.releasing).map(view).collect(),
        ));
    }

    /// Makes sure that a disk that vanishes is noticed, though nothing is written to it.
    pub(crate) fn watch_all(&self, shared: &Arc<Shared>) {
        for (slot, disk) in &self.disks {
            disk.watch(*slot, shared);
        }
    }

    fn works(&self, slot: u8) -> bool {
        self.disks.get(&slot).is_some_and(Disk::works)
    }

    /// Whether the disk of a bucket cannot be used.
    fn lacks(&self, bucket: u8) -> bool {
        !self.works(self.table.buckets[usize::from(bucket)])
    }

    /// A disk is of no use any more.
    ///
    /// # Errors
    /// If it was the last one (DK3), or the table cannot be written.
    pub(crate) fn note_failed(&mut self, slot: u8, why: String, shared: &Shared) -> Result<()> {
        let Some(disk) = self.disks.get_mut(&slot).filter(|disk| disk.works()) else {
            return Ok(());
        };
        disk.failure = Some(why.clone());
        disk.watched = Arc::new(());
        tracing::error!(slot, path = %self.path(slot), why, "disk failed");
        if !self.disks.values().any(Disk::works) {
            bail!("the last disk failed: {why}");
        }
        self.stop_moves_of(slot, shared);
        tell_all(shared, || DiskOrder::Fail { slot, why: why.clone() });
        let mut table = self.table.clone();
        if let Some(entry) = table.disks.get_mut(&slot) {
            entry.state = DiskState::Failed;
        }
        self.save(table)
    }

    /// DK1.
    fn save(&mut self, table: DiskTable) -> Result<()> {
        self.home.save_table(table.clone()).context("table of disks")?;
        self.table = table;
        self.show();
        Ok(())
    }

    /// Where a disk is, for people.
    fn path(&self, slot: u8) -> String {
        let entry = self.table.disks.get(&slot);
        let path = entry.map_or_else(|| self.home.path(), |entry| &entry.path);
        let path = if path.as_os_str().is_empty() { self.home.path() } else { path };
        path.display().to_string()
    }

    /// The command by which this sheep leaves the in-sync sets of groups whose copies it lost.
    pub(crate) fn demotion(&self, state: &ClusterState, me: Me) -> Option<Command> {
        if self.disks.values().all(Disk::works) {
            return None;
        }
        let mut groups = group::taken(state, me.node, |bucket| self.lacks(bucket));
        groups.retain(|pg| state.group(*pg).is_some_and(|group| group.can_demote(me.node)));
        let Me { node, incarnation } = me;
        (!groups.is_empty()).then_some(Command::Demote { node, incarnation, groups })
    }

    /// As `demotion`, but only if it was not proposed a moment ago.
    pub(crate) fn due_demotion(&mut self, state: &ClusterState, me: Me) -> Option<Command> {
        let command = self.demotion(state, me)?;
        if self.proposed.is_some_and(|at| at.elapsed() < PROPOSE_AGAIN) {
            return None;
        }
        self.proposed = Some(Instant::now());
        Some(command)
    }

    /// Gives buckets of disks that cannot be used to others, as far as that may be (DK2).
    ///
    /// # Errors
    /// If the table cannot be written.
    pub(crate) fn remap(&mut self, state: &ClusterState, me: Me) -> Result<bool> {
        let lacking: Vec<u8> = (0..=u8::MAX).filter(|bucket| self.lacks(*bucket)).collect();
        if lacking.is_empty() {
            return Ok(false);
        }
        let wanted = self.table.wanted();
        let mut table = self.table.clone();
        for bucket in lacking {
            let slot = wanted[usize::from(bucket)];
            let is_free = || group::taken(state, me.node, |other| other == bucket).is_empty();
            if self.works(slot) && is_free() {
                table.buckets[usize::from(bucket)] = slot;
            }
        }
        if table == self.table {
            return Ok(false);
        }
        self.save(table)?;
        Ok(true)
    }

    /// Looks what the newest state allows and asks for.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub(crate) fn follow(&mut self, state: &ClusterState, shared: &Arc<Shared>) -> Result<()> {
        if self.remap(state, shared.me)? {
            let buckets = self.table.buckets;
            tell_all(shared, || DiskOrder::Table(Box::new(buckets)));
        }
        self.note_stuck(state, shared.me);
        self.begin_next_move(shared);
        self.close_empty(shared);
        Ok(())
    }

    /// Counts groups of which this sheep has the last complete copies, on disks that cannot be
    /// used: they wait.
    fn note_stuck(&mut self, state: &ClusterState, me: Me) {
        let mut stuck = BTreeMap::new();
        for (slot, _) in self.disks.iter().filter(|(_, disk)| !disk.works()) {
            let is_on = |bucket: u8| self.table.buckets[usize::from(bucket)] == *slot;
            let mut groups = group::taken(state, me.node, is_on);
            groups.retain(|pg| state.group(*pg).is_some_and(|group| !group.can_demote(me.node)));
            if !groups.is_empty() {
                stuck.insert(*slot, groups.len());
            }
        }
        if stuck != self.stuck {
            tracing::warn!(?stuck, "groups by disk that wait for their last complete copy");
            self.stuck = stuck;
            self.show();
        }
    }
}
