//! Replay of a recording: the disk as a power cut right after any sync would have left it.
//!
//! Way: [`Recording::load`] reads a file and knows its syncs; a [`Replay`] does the entries
//!      again on a fake disk, sync by sync, and gives copies of it to which the power cut
//!      happened.
//! Holds:
//!   RY1 what no ended sync covers is lost, all of it: names, lengths, bytes;
//!   RY2 a sync that is left out on purpose makes nothing durable; later ones do what they did.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use sheepdog_proto::Payload;

use super::entry::{self, Found, Kind};
use crate::disk::{Disk, DiskError, FakeDisk, FileId, Operation, Ticket};

/// Why a recording is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Its file cannot be read.
    #[error("recording: {0}")]
    Io(#[from] io::Error),
    /// It is not what a recorder writes.
    #[error("recording: {0}")]
    Invalid(&'static str),
    /// The fake disk does not do what the real one did.
    #[error("recording: {0}")]
    Disk(#[from] DiskError),
}

/// What a sync is for, as far as the names of files tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// A durable write to the log.
    Append,
    /// A file of the log was filled with zeros.
    Fill,
    /// Large writes that were put in place.
    Placed,
    /// Blocks that a checkpoint put in place.
    CheckpointData,
    /// Metadata pages of a checkpoint.
    CheckpointMeta,
    /// Index pages of a checkpoint.
    CheckpointIndex,
    /// The checkpoint itself.
    Root,
    /// Names of a directory.
    Names,
    /// Something that was waited for: an open.
    Waited,
}

/// One sync that ended.
#[derive(Clone, Copy, Debug)]
pub struct SyncPoint {
    /// When it had ended, see [`super::now`].
    pub time: u64,
    /// What it is for.
    pub kind: SyncKind,
    entry: usize,
}

/// Everything that was done to a disk.
#[derive(Debug)]
pub struct Recording {
    bytes: Vec<u8>,
    entries: Vec<Found>,
    syncs: Vec<SyncPoint>,
}

/// A recording that is being done again.
#[derive(Debug)]
pub struct Replay<'a> {
    recording: &'a Recording,
    /// A sync that is taken out.
    without: Option<usize>,
    disk: FakeDisk,
    files: BTreeMap<FileId, FileId>,
    /// What a sync covers, since it began.
    marks: BTreeMap<u64, u64>,
    /// Entries and syncs that were done.
    entries: usize,
    syncs: usize,
}

impl Recording {
    /// Reads a recording. An entry that was cut by the end of the process is left out.
    ///
    /// # Errors
    /// `Io`; `Invalid` if it is none, or if an operation failed in it.
    pub fn load(path: &Path) -> Result<Self, RecordError> {
        let bytes = fs::read(path)?;
        if !bytes.starts_with(&entry::MAGIC) {
            return Err(RecordError::Invalid("this is none"));
        }
        let mut entries = Vec::new();
        let mut position = entry::MAGIC.len();
        while let Some(found) = entry::decode(&bytes, position) {
            if found.head.kind == Kind::Failed {
                return Err(RecordError::Invalid("an operation failed, and may be partly done"));
            }
            position = found.body.end;
            entries.push(found);
        }
        let mut recording = Self { bytes, entries, syncs: Vec::new() };
        recording.find_syncs();
        Ok(recording)
    }

    /// All syncs that ended, durable writes included, in their order.
    #[must_use]
    pub fn syncs(&self) -> &[SyncPoint] {
        &self.syncs
    }

    fn text(&self, found: &Found) -> &str {
        std::str::from_utf8(&self.bytes[found.body.clone()]).unwrap_or_default()
    }

    fn bytes_of(&self, found: &Found) -> Cow<'_, [u8]> {
        match found.is_zeros {
            true => Cow::Owned(vec![0; found.head.len as usize]),
            false => Cow::Borrowed(&self.bytes[found.body.clone()]),
        }
    }

    fn find_syncs(&mut self) {
        let mut names: BTreeMap<FileId, String> = BTreeMap::new();
        let mut syncs = Vec::new();
        let checkpoints = self.data_syncs_of_checkpoints();
        for (entry, found) in self.entries.iter().enumerate() {
            let head = found.head;
            let name = names.get(&head.file).map_or("", String::as_str);
            let kind = match head.kind {
                Kind::Create | Kind::Open => {
                    names.insert(head.file, self.text(found).to_owned());
                    continue;
                }
                Kind::SyncDir => SyncKind::Names,
                Kind::DurableWrite if !name.starts_with("wal/") => SyncKind::Root,
                Kind::DurableWrite if found.is_zeros => SyncKind::Fill,
                Kind::DurableWrite => SyncKind::Append,
                Kind::Sync if head.len == 0 => SyncKind::Waited,
                Kind::Sync if name == "meta" => SyncKind::CheckpointMeta,
                Kind::Sync if name == "index" => SyncKind::CheckpointIndex,
                Kind::Sync if checkpoints.contains(&head.len) => SyncKind::CheckpointData,
                Kind::Sync => SyncKind::Placed,
                _ => continue,
            };
            syncs.push(SyncPoint { time: found.time, kind, entry });
        }
        self.syncs = syncs;
    }

    /// Numbers of syncs that were begun together with that of the metadata pages, before it:
    /// a checkpoint begins all of its syncs at once.
    fn data_syncs_of_checkpoints(&self) -> Vec<u64> {
        let mut meta = Vec::new();
        let mut numbers = Vec::new();
        let mut together: Vec<(FileId, u64)> = Vec::new();
        for found in &self.entries {
            match found.head.kind {
                Kind::Open if self.text(found) == "meta" => meta.push(found.head.file),
                Kind::SyncBegun if meta.contains(&found.head.file) => {
                    numbers.extend(together.drain(..).map(|(_, number)| number));
                }
                Kind::SyncBegun => {
                    // The same slab again: the earlier one was for placed data.
                    together.retain(|(file, _)| *file != found.head.file);
                    together.push((found.head.file, found.head.len));
                    continue;
                }
                _ => {}
            }
            together.clear();
        }
        numbers
    }
}

impl<'a> Replay<'a> {
    /// A replay of everything, but that sync number `without` makes nothing durable (RY2).
    #[must_use]
    pub fn new(recording: &'a Recording, without: Option<usize>) -> Self {
        let (disk, files, marks) = (FakeDisk::new(), BTreeMap::new(), BTreeMap::new());
        Self { recording, without, disk, files, marks, entries: 0, syncs: 0 }
    }

    /// Goes on to right after sync number `index`, which must not lie behind.
    ///
    /// # Errors
    /// `Disk` if the fake disk cannot follow.
    pub fn go_on_to(&mut self, index: usize) -> Result<(), RecordError> {
        let recording = self.recording;
        let Some(end) = recording.syncs.get(index).map(|sync| sync.entry + 1) else {
            return Err(RecordError::Invalid("it has no such sync"));
        };
        assert!(self.entries <= end, "a replay does not go back");
        for entry in self.entries..end {
            let is_sync = recording.syncs.get(self.syncs).is_some_and(|sync| sync.entry == entry);
            let is_left_out = is_sync && self.without == Some(self.syncs);
            self.apply(&recording.entries[entry], is_left_out)?;
            self.syncs += usize::from(is_sync);
        }
        self.entries = end;
        Ok(())
    }

    /// A copy of the disk after a power cut at this point (RY1).
    #[must_use]
    pub fn after_power_cut(&self) -> FakeDisk {
        let disk = self.disk.fork();
        disk.lose_unsynced();
        disk
    }

    fn apply(&mut self, found: &Found, is_left_out: bool) -> Result<(), RecordError> {
        let head = found.head;
        let text = self.recording.text(found);
        let disk = &mut self.disk;
        let file = self.files.get(&head.file).copied().unwrap_or(FileId(0));
        match head.kind {
            Kind::Create => {
                self.files.insert(head.file, disk.create(text)?);
            }
            Kind::Open => {
                self.files.insert(head.file, disk.open(text)?);
            }
            Kind::Close => disk.close(file),
            Kind::CreateDir => disk.create_dir(text)?,
            Kind::Rename => {
                let names = text.split_once('\0');
                let (from, to) = names.ok_or(RecordError::Invalid("a name is missing"))?;
                disk.rename(from, to)?;
            }
            Kind::Remove => disk.remove(text)?,
            Kind::SetLen => disk.set_len(file, head.len)?,
            Kind::Allocate => disk.allocate(file, head.offset, head.len)?,
            Kind::Punch => disk.punch_hole(file, head.offset, head.len)?,
            Kind::SyncBegun => {
                self.marks.insert(head.len, disk.mark(file)?);
            }
            Kind::Write | Kind::DurableWrite => {
                let parts = vec![Payload::from(&self.recording.bytes_of(found)[..])];
                let durable = head.kind == Kind::DurableWrite && !is_left_out;
                let (offset, direct) = (head.offset, false);
                disk.submit(Ticket(0), Operation::Write { file, offset, parts, durable, direct });
                let mut ended = Vec::new();
                disk.reap(true, &mut ended);
                for one in ended {
                    one.result?;
                }
            }
            Kind::Sync | Kind::SyncDir if is_left_out => {}
            Kind::SyncDir => disk.sync_dir(text)?,
            Kind::Sync => match self.marks.remove(&head.len) {
                Some(mark) => disk.sync_up_to(file, mark)?,
                None => disk.sync(file)?,
            },
            Kind::Failed => return Err(RecordError::Invalid("an operation failed")),
        }
        Ok(())
    }
}
