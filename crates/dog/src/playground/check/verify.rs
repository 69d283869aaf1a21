//! Verify: every byte of a VDI against what was acknowledged.

use sheepdog_proto::BLOCK_BYTES;

use super::VDI_BYTES;
use super::face::{Disk, Face};
use super::pattern::{self, Tag};
use super::writer::Ledger;

/// Bytes of one read.
const PIECE: u64 = 1 << 20;

/// Wrong blocks that are told one by one.
const TOLD_MAX: usize = 3;

/// The result.
#[derive(Debug)]
pub(super) enum Verified {
    /// So many bytes were compared.
    All(u64),
    /// Which blocks are wrong, and how.
    Bad(String),
}

/// Reads the whole VDI through `disk`; `face` is the one that wrote it.
pub(super) async fn run(disk: &Disk, face: Face, ledger: &Ledger) -> Verified {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for start in (0..VDI_BYTES).step_by(PIECE as usize) {
        let blocks = block_of(start)..block_of(start + PIECE);
        match disk.read(start, PIECE as usize).await {
            Ok(bytes) if bytes.len() as u64 == PIECE => {
                for (block, bytes) in blocks.zip(bytes.chunks(BLOCK_BYTES)) {
                    wrong.extend(compare(face, ledger, block, bytes));
                }
                compared += PIECE;
            }
            Ok(bytes) => wrong.push(format!("a read of {PIECE} bytes gave {}", bytes.len())),
            // One bad block spoils the whole read: find out which.
            Err(_) => wrong.extend(one_by_one(disk, face, ledger, blocks).await),
        }
    }
    if wrong.is_empty() {
        return Verified::All(compared);
    }
    let more = wrong.len().saturating_sub(TOLD_MAX);
    wrong.truncate(TOLD_MAX);
    let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
    Verified::Bad(format!("{}{tail}", wrong.join("; ")))
}

async fn one_by_one(
    disk: &Disk,
    face: Face,
    ledger: &Ledger,
    blocks: std::ops::Range<u32>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for block in blocks {
        let offset = u64::from(block) * BLOCK_BYTES as u64;
        match disk.read(offset, BLOCK_BYTES).await {
            Ok(bytes) => wrong.extend(compare(face, ledger, block, &bytes)),
            Err(error) => wrong.push(format!("block {block} cannot be read: {error}")),
        }
    }
    if wrong.is_empty() {
        wrong.push("a read failed that works block by block".to_owned());
    }
    wrong
}

fn compare(face: Face, ledger: &Ledger, block: u32, bytes: &[u8]) -> Option<String> {
    let sequence = ledger.get(&block).copied().unwrap_or(0);
    let tag = Tag { face: face.number(), block, sequence };
    if pattern::is(tag, bytes) {
        return None;
    }
    let expected = match sequence {
        0 => "zeros".to_owned(),
        sequence => format!("write {sequence}"),
    };
    Some(format!("block {block} has {} instead of {expected}", pattern::describe(bytes)))
}

const fn block_of(offset: u64) -> u32 {
    (offset / BLOCK_BYTES as u64) as u32
}
