//! Cases of the store, and their load: a number of requests under way, from one thread.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sheepdog_proto::{
    BLOCK_BYTES, Buffer, Generation, Oid, Payload, Stamp, Vid, View, block_checksum,
};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{Options as StoreOptions, RealDisk, Reply, Request, Statistics, Store};

use super::Figures;
use crate::account::Usage;

const OBJECT_BLOCKS: u32 = 1024;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Blocks of a request.
    pub(crate) blocks: u32,
    pub(crate) depth: usize,
    pub(crate) is_random: bool,
    /// The page cache is emptied first.
    pub(crate) is_cold: bool,
}

impl Case {
    const fn write(name: &'static str, blocks: u32, depth: usize, is_random: bool) -> Self {
        Self { name, kind: Kind::Write, blocks, depth, is_random, is_cold: false }
    }

    const fn read(name: &'static str, blocks: u32, depth: usize, is_cold: bool) -> Self {
        Self { name, kind: Kind::Read, blocks, depth, is_random: blocks == 1, is_cold }
    }
}

/// All cases, in the order in which they are run.
pub(crate) const CASES: &[Case] = &[
    Case::write("write-4k-d32", 1, 32, true),
    Case::write("write-4k-d1", 1, 1, true),
    Case::write("write-64k-d8", 16, 8, true),
    Case::write("write-256k-d4", 64, 4, true),
    Case::write("write-1m-seq-d4", 256, 4, false),
    Case::read("read-4k-d32-cold", 1, 32, true),
    Case::read("read-1m-seq-d4-cold", 256, 4, true),
    Case::read("read-4k-d1", 1, 1, false),
    Case::read("read-4k-d32", 1, 32, false),
    Case::read("read-1m-seq-d4", 256, 4, false),
];

/// Empties the page cache of what a file has in it.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let file = std::fs::File::open(path)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// A store full of data.
pub(crate) struct Bench {
    store: Store,
    slab: PathBuf,
    blocks: u64,
    seconds: u64,
    dice: Dice,
    sequence: u64,
    bytes: Payload,
    checksums: Vec<u32>,
    cursor: u64,
    last_token: u64,
    last: Option<(Statistics, u64)>,
}

impl Bench {
    pub(crate) fn new(directory: &Path, size: u32, seconds: u64) -> Result<Self> {
        let path = directory.join("store");
        std::fs::create_dir_all(&path)?;
        let disk = RealDisk::new(&path)?;
        println!("engine {:?}", disk.engine());
        let options = StoreOptions { salt: 42, warm_units_max: 1024, ..StoreOptions::default() };
        let (store, _) = Store::open(Box::new(disk), options)?;
        let mut bytes = Buffer::zeroed(256 * BLOCK_BYTES);
        let mut dice = Dice::new(7);
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&dice.roll().to_le_bytes());
        }
        let bytes = bytes.share();
        let blocks = u64::from(size) * 256;
        let checksum = |block: u64| {
            let (oid, number) = place_of(block);
            let start = (block % 256) as usize * BLOCK_BYTES;
            block_checksum(oid, number, &bytes[start..start + BLOCK_BYTES])
        };
        let checksums = (0..blocks).map(checksum).collect();
        let mut bench = Self {
            store,
            slab: path.join("data/0000"),
            blocks,
            seconds,
            dice,
            sequence: 0,
            bytes,
            checksums,
            cursor: 0,
            last_token: 0,
            last: None,
        };
        bench.fill()?;
        Ok(bench)
    }

    /// Writes everything once.
    fn fill(&mut self) -> Result<()> {
        for first in (0..self.blocks).step_by(256) {
            let request = self.write(first, 256);
            expect(self.store.execute(vec![request]).pop())?;
        }
        self.note_stable(None);
        self.store.checkpoint().context("first checkpoint")
    }

    /// Runs a case for some seconds.
    pub(crate) fn store(&mut self, case: &Case) -> Result<Figures> {
        if case.is_cold {
            forget(&self.slab)?;
        }
        let before = self.store.statistics().clone();
        let (start, cpu) = (Instant::now(), Usage::of(std::process::id())?);
        let end = start + Duration::from_secs(self.seconds);
        let mut under_way = BTreeSet::new();
        let mut done = 0_u64;
        // What was read once is in the page cache.
        let most = if case.is_cold { self.blocks / u64::from(case.blocks) } else { u64::MAX };
        let goes_on = |begun: u64| Instant::now() < end && begun < most;
        while goes_on(done) || !under_way.is_empty() {
            while goes_on(done + under_way.len() as u64) && under_way.len() < case.depth {
                let request = self.request(case);
                let token = self.next_token();
                under_way.insert(token);
                self.store.submit(token, request);
            }
            self.store.turn(true);
            let before = done;
            for (token, reply) in self.store.take_replies() {
                expect(Some(reply))?;
                done += u64::from(under_way.remove(&token));
            }
            if done > before {
                self.note_stable(under_way.first().copied());
            }
        }
        let took = start.elapsed().as_secs_f64();
        let cpu = Usage::of(std::process::id())?.since(cpu).processor.as_secs_f64();
        // What waits to be put in place belongs to the bytes, not to the time.
        self.store.checkpoint().context("checkpoint")?;
        let after = self.store.statistics().clone();
        self.last = Some((difference(&after, &before), done * u64::from(case.blocks)));
        Ok(Figures { rate: done as f64 / took, cpu_us: cpu * 1e6 / done.max(1) as f64 })
    }

    /// What the store says of the last run.
    pub(crate) fn notes(&self, case: &Case) -> String {
        let Some((s, blocks)) = &self.last else { return String::new() };
        if case.kind == Kind::Read {
            return String::new();
        }
        let acknowledged = (*blocks * BLOCK_BYTES as u64) as f64;
        let part = |bytes: u64| bytes as f64 / acknowledged;
        let all = part(s.wal_bytes + s.data_bytes + s.meta_bytes + s.index_bytes);
        format!(
            "written/acknowledged {all:.2} (log {:.2} data {:.2} meta {:.2} index {:.2}); {:.1} \
             changes a batch, {:.0} syncs per 1000, {} checkpoints",
            part(s.wal_bytes),
            part(s.data_bytes),
            part(s.meta_bytes),
            part(s.index_bytes),
            s.changes as f64 / s.batches.max(1) as f64,
            s.syncs as f64 * 1000.0 / s.changes.max(1) as f64,
            s.checkpoints
        )
    }

    /// Tokens are the numbers of changes, as far as there is one.
    fn next_token(&mut self) -> u64 {
        self.last_token = self.sequence.max(self.last_token + 1);
        self.last_token
    }

    /// As a gateway does with each message: what is everywhere need not be remembered.
    fn note_stable(&mut self, oldest: Option<u64>) {
        let stable = oldest.map_or(self.sequence, |oldest| oldest.min(self.sequence + 1) - 1);
        let stable = Stamp::new(Generation(1), stable);
        self.store.submit(u64::MAX, Request::Watermark { vid: object(0).vid(), stable });
    }

    fn request(&mut self, case: &Case) -> Request {
        let count = u64::from(case.blocks);
        let places = self.blocks / count;
        let place = if case.is_random {
            self.dice.below(places)
        } else {
            self.cursor += 1;
            self.cursor % places
        };
        match case.kind {
            Kind::Write => self.write(place * count, case.blocks),
            Kind::Read => {
                let (oid, first_block) = place_of(place * count);
                Request::Read { oid, first_block, count: case.blocks }
            }
        }
    }

    /// The bytes are the same everywhere, so that what is measured is the store and not the
    /// making of data; their checksums are not.
    fn write(&mut self, block: u64, count: u32) -> Request {
        let (oid, first_block) = place_of(block);
        self.sequence += 1;
        let places = block as usize..block as usize + count as usize;
        let start = (block % 256) as usize * BLOCK_BYTES;
        Request::Write {
            oid,
            object_shift: 22,
            first_block,
            stamp: Stamp::new(Generation(1), self.sequence),
            view: View(1),
            checksums: self.checksums[places].to_vec(),
            data: self.bytes.slice(start..start + count as usize * BLOCK_BYTES),
        }
    }
}

fn place_of(block: u64) -> (Oid, u32) {
    let objects = u64::from(OBJECT_BLOCKS);
    (object((block / objects) as u32), (block % objects) as u32)
}

/// Objects of one VDI.
pub(crate) fn object(index: u32) -> Oid {
    Oid::data(Vid::hash_of_name(b"bench"), index)
}

fn expect(reply: Option<Result<Reply, sheepdog_store::StoreError>>) -> Result<()> {
    match reply {
        Some(Ok(Reply::Done { .. })) => Ok(()),
        Some(Ok(Reply::Read(read))) if read.blocks.len() * BLOCK_BYTES == read.data.len() => Ok(()),
        other => bail!("the store answered {other:?}"),
    }
}

fn difference(after: &Statistics, before: &Statistics) -> Statistics {
    Statistics {
        batches: after.batches - before.batches,
        changes: after.changes - before.changes,
        syncs: after.syncs - before.syncs,
        wal_bytes: after.wal_bytes - before.wal_bytes,
        data_bytes: after.data_bytes - before.data_bytes,
        meta_bytes: after.meta_bytes - before.meta_bytes,
        index_bytes: after.index_bytes - before.index_bytes,
        read_blocks: after.read_blocks - before.read_blocks,
        read_pages: after.read_pages - before.read_pages,
        checkpoints: after.checkpoints - before.checkpoints,
        blocked_writes: after.blocked_writes - before.blocked_writes,
    }
}

/// Bytes for one block of an object, with its checksum.
pub(crate) fn one_block(oid: Oid, block: u32) -> (Vec<u32>, Payload) {
    let bytes = [7_u8; BLOCK_BYTES];
    (vec![block_checksum(oid, block, &bytes)], Payload::from(&bytes[..]))
}
