//! Histories: what a seed makes a store do.

use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Payload, Stamp, Vid, View, block_checksum};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{Options, Request};

pub(crate) const SHIFT: u8 = 20;

/// A log that a history does not fill, so that segments and checkpoints begin when the test says
/// so; little memory for metadata.
pub(crate) fn small_options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        segments_max: 5,
        dirty_bytes_max: 64 << 20,
        metadata_bytes_max: 8 << 12,
        warm_units_max: 1,
        reserve_bytes: 0,
        salt: 7,
        ..Options::default()
    }
}

pub(crate) fn vid(number: u32) -> Vid {
    Vid::new(number).unwrap()
}

/// The objects of every history.
pub(crate) fn oids() -> Vec<Oid> {
    vec![Oid::data(vid(1), 0), Oid::data(vid(1), 1), Oid::data(vid(2), 0), Oid::map(vid(2), 0)]
}

pub(crate) fn stamp(generation: u32, sequence: u64) -> Stamp {
    Stamp::new(Generation(generation), sequence)
}

/// Blocks whose bytes follow from `tag`.
pub(crate) fn write(
    oid: Oid,
    first_block: u32,
    count: u32,
    stamp: Stamp,
    view: u64,
    tag: u64,
) -> Request {
    let mut bytes = Vec::new();
    let mut checksums = Vec::new();
    for block in first_block..first_block + count {
        let mut dice = Dice::new(tag.wrapping_mul(0x1_0001) ^ u64::from(block));
        let word = dice.roll().to_le_bytes();
        let mut content = word.repeat(BLOCK_BYTES / word.len());
        // No two sectors are alike, so that a torn block never looks whole.
        for (number, sector) in content.chunks_mut(512).enumerate() {
            sector[0] = number as u8;
        }
        checksums.push(block_checksum(oid, block, &content));
        bytes.extend(content);
    }
    let (data, view) = (Payload::from(&bytes[..]), View(view));
    Request::Write { oid, object_shift: SHIFT, first_block, stamp, view, checksums, data }
}

/// Draws requests; the same seed draws the same ones.
pub(crate) struct History {
    dice: Dice,
    generation: u32,
    sequence: u64,
    view: u64,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        dice.roll();
        Self { dice, generation: 1, sequence: 1, view: 1 }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }

    fn oid(&mut self) -> Oid {
        let oids = oids();
        oids[self.dice.below(oids.len() as u64) as usize]
    }

    /// Mostly the next stamp, now and then one that came before.
    fn stamp(&mut self) -> Stamp {
        if self.chance(3) {
            self.generation += 1;
            self.sequence = 0;
        }
        if self.chance(15) {
            return stamp(self.generation, self.dice.below(self.sequence).max(1));
        }
        self.sequence += 1;
        stamp(self.generation, self.sequence)
    }

    /// Mostly the current view, now and then a newer or an older one.
    fn view(&mut self) -> View {
        if self.chance(10) {
            self.view += 1;
        }
        if self.chance(10) { View(self.dice.below(self.view)) } else { View(self.view) }
    }

    /// Few blocks, so that they meet again; page borders and the object's end among them.
    fn range(&mut self) -> (u32, u32) {
        let first = match self.dice.below(4) {
            0 => self.dice.below(4),
            1 => 29 + self.dice.below(4),
            2 => 60 + self.dice.below(3),
            _ => 250 + self.dice.below(6),
        } as u32;
        let count = (1 + self.dice.below(5) as u32).min(256 - first);
        (first, count)
    }

    fn change(&mut self) -> Request {
        let (oid, stamp, view) = (self.oid(), self.stamp(), self.view());
        let (first_block, count) = self.range();
        match self.dice.below(100) {
            0..70 => {
                let tag = self.dice.roll();
                write(oid, first_block, count, stamp, view.0, tag)
            }
            70..85 => Request::Hole { oid, object_shift: SHIFT, first_block, count, stamp, view },
            _ => Request::Reset { oid, stamp, view },
        }
    }

    fn question(&mut self) -> Request {
        let oid = self.oid();
        let (first_block, count) = self.range();
        match self.dice.below(4) {
            0 => Request::Stamps { oid, first_block, count },
            1 => Request::List { after: self.chance(50).then_some(oid), limit: 2 },
            2 => Request::Unstable { vid: oid.vid() },
            _ => Request::Read { oid, first_block, count },
        }
    }

    fn mark(&mut self) -> Request {
        let oid = self.oid();
        if self.chance(70) {
            let generation = self.generation - self.dice.below(2).min(1) as u32;
            let stable = stamp(generation.max(1), self.dice.below(self.sequence + 2));
            Request::Watermark { vid: oid.vid(), stable }
        } else {
            let below = Generation(self.generation);
            Request::Settle { vid: oid.vid(), below, oids: vec![oid, self.oid()] }
        }
    }

    /// One to four requests.
    pub(crate) fn batch(&mut self) -> Vec<Request> {
        let count = 1 + self.dice.below(4);
        (0..count)
            .map(|_| match self.dice.below(100) {
                0..65 => self.change(),
                65..85 => self.question(),
                _ => self.mark(),
            })
            .collect()
    }

    /// Now and then something else happens between two batches.
    pub(crate) fn event(&mut self) -> Event {
        match self.dice.below(20) {
            0 => Event::Checkpoint,
            1 => Event::Restart,
            _ => Event::Nothing,
        }
    }
}

/// What happens between two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    Checkpoint,
    Restart,
}
