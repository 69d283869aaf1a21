//! Cuts: a recorded sheep as a power cut right after any of its syncs would have left it.
//!
//! Way: `Recorded` is what is known of one store; [`Recorded::fault`] opens a store on what a
//!      cut would have left and compares it with the ledgers.

use std::ops::Range;

use anyhow::{Context, Result};
use sheepdog_store::disk::recorder::{Recording, Replay, SyncKind};
use sheepdog_store::{FakeDisk, Home};

use crate::copies;
use crate::ledger::SharedLedger;
use crate::sheep::Sheep;

/// A disk that was written while sheep were recorded.
#[derive(Clone, Debug)]
pub struct Written {
    /// Id of its VDI.
    pub vid: u32,
    /// Its objects have 2^this bytes.
    pub shift: u8,
    /// What it was sent.
    pub ledger: SharedLedger,
}

/// One store that was recorded.
#[derive(Debug)]
pub struct Recorded {
    node: u128,
    recording: Recording,
    /// When the sheep was killed, or nothing more was acknowledged.
    end: u64,
}

impl Recorded {
    /// The only store of a sheep that does not run any more.
    ///
    /// # Errors
    /// If the recording cannot be read.
    pub fn load(sheep: &Sheep, end: u64) -> Result<Self> {
        let node = Home::open(&sheep.directory())?.node_uuid();
        let path = sheep.recordings().join("store-0");
        let recording = Recording::load(&path).with_context(|| path.display().to_string())?;
        Ok(Self { node, recording, end })
    }

    /// How many syncs it has.
    #[must_use]
    pub fn sync_count(&self) -> usize {
        self.recording.syncs().len()
    }

    /// Numbers of the syncs of a kind.
    #[must_use]
    pub fn syncs_of(&self, kind: SyncKind) -> Vec<usize> {
        let syncs = self.recording.syncs().iter().enumerate();
        syncs.filter(|(_, sync)| sync.kind == kind).map(|(number, _)| number).collect()
    }

    /// When sync number `sync` had ended; the end if there are not so many.
    #[must_use]
    pub fn time_of(&self, sync: usize) -> u64 {
        self.recording.syncs().get(sync).map_or(self.end, |sync| sync.time.min(self.end))
    }

    /// The first fault that a power cut right after one of these syncs would have shown, without
    /// the sync `without` if one is given.
    ///
    /// # Errors
    /// If the recording cannot be replayed.
    pub fn fault(
        &self,
        written: &[Written],
        without: Option<usize>,
        syncs: impl IntoIterator<Item = usize>,
    ) -> Result<Option<String>> {
        let mut replay = Replay::new(&self.recording, without);
        for sync in syncs {
            replay.go_on_to(sync)?;
            // What was acknowledged before the next sync ended needs none but these.
            let time = self.time_of(sync + 1);
            if let Err(why) = self.check(replay.after_power_cut(), written, time) {
                return Ok(Some(format!("power cut after sync {sync}: {why:#}")));
            }
        }
        Ok(None)
    }

    fn check(&self, disk: FakeDisk, written: &[Written], time: u64) -> Result<()> {
        let mut store = copies::open_on(Box::new(disk), self.node, 0)?;
        for Written { vid, shift, ledger } in written {
            copies::check(&mut store, &ledger.lock(), *vid, *shift, time)
                .with_context(|| format!("vdi {vid:x}"))?;
        }
        Ok(())
    }

    /// About `count` numbers of a range, evenly.
    #[must_use]
    pub fn sample(range: Range<usize>, count: usize) -> Vec<usize> {
        let step = (range.len() / count.max(1)).max(1);
        range.step_by(step).collect()
    }
}
