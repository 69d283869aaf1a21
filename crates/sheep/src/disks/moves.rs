//! Moving buckets: one after the other goes to the disk that shall have it.
//!
//! Way: the shards copy a bucket while clients change it (`shard::mover`); when all have, the table
//!      is written and they are told.
//! Holds:
//!   MO1 the table gives a bucket to another disk only when every shard has said that the disk has
//!       all of its part, and that changes are answered when both disks have them (TB2);
//!   MO2 one bucket moves at a time; what was hindered is begun anew, from nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Disks;
use crate::shard::disk::{DiskOrder, MoveOrder};
use crate::shard::mail::Mail;
use crate::shared::Shared;

/// So long after a hindrance the next move begins.
const AGAIN: Duration = Duration::from_secs(5);

/// The bucket that moves.
#[derive(Debug)]
struct Current {
    order: MoveOrder,
    /// Shards that have not copied their part.
    left: BTreeSet<u16>,
}

/// What moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Number of the last one.
    last: u64,
    last_bucket: u8,
    current: Option<Current>,
    not_before: Option<Instant>,
    /// Because of which disk the last one could not go on, and why.
    pub(super) hindrance: Option<(u8, String)>,
}

impl Moves {
    /// Whether the bucket that moves comes from or goes to a disk.
    pub(super) fn uses(&self, slot: u8) -> bool {
        self.current.as_ref().is_some_and(|now| now.order.from == slot || now.order.to == slot)
    }
}

impl Disks {
    /// Begins the next move, if there is one to make.
    pub(super) fn begin_next_move(&mut self, shared: &Shared) {
        let is_early = self.moves.not_before.is_some_and(|at| Instant::now() < at);
        if self.moves.current.is_some() || is_early {
            return;
        }
        let wanted = self.table.wanted();
        // Behind the last one, so that one which is hindered does not stand before all others.
        let start = self.moves.last_bucket.wrapping_add(1);
        let next = (0..=u8::MAX).map(|at| start.wrapping_add(at)).find_map(|bucket| {
            let at = usize::from(bucket);
            let (from, to) = (self.table.buckets[at], wanted[at]);
            (from != to && self.works(from) && self.works(to)).then_some((bucket, from, to))
        });
        let Some((bucket, from, to)) = next else {
            if self.moves.hindrance.take().is_some() {
                self.show();
            }
            return;
        };
        self.moves.last_bucket = bucket;
        self.moves.last += 1;
        let order = MoveOrder { id: self.moves.last, bucket, from, to };
        tracing::debug!(?order, "a bucket moves");
        self.moves.current =
            Some(Current { order, left: (0..shared.shards.len() as u16).collect() });
        tell_all(shared, || DiskOrder::Move(order));
    }

    /// A shard has copied its part.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub(super) fn note_copied(&mut self, id: u64, shard: u16, shared: &Shared) -> Result<()> {
        let Some(now) = self.moves.current.as_mut().filter(|now| now.order.id == id) else {
            return Ok(());
        };
        now.left.remove(&shard);
        if !now.left.is_empty() {
            return Ok(()); // MO1
        }
        let order = now.order;
        let mut table = self.table.clone();
        table.buckets[usize::from(order.bucket)] = order.to;
        self.moves.current = None;
        self.moves.hindrance = None;
        self.save(table)?; // DK1
        let buckets = self.table.buckets;
        tell_all(shared, || DiskOrder::Table(Box::new(buckets)));
        Ok(())
    }

    /// A shard cannot copy its part: the bucket stays where it is, for now (MO2).
    pub(super) fn note_hindered(&mut self, id: u64, by: (u8, String), shared: &Shared) {
        let Some(now) = self.moves.current.take_if(|now| now.order.id == id) else { return };
        tracing::warn!(order = ?now.order, ?by, "a bucket cannot move now");
        tell_all(shared, || DiskOrder::Stay { id });
        self.moves.hindrance = Some(by);
        self.moves.not_before = Some(Instant::now() + AGAIN);
        self.show();
    }

    /// A disk failed: nothing moves from it or to it.
    pub(super) fn stop_moves_of(&mut self, slot: u8, shared: &Shared) {
        if self.moves.uses(slot)
            && let Some(now) = self.moves.current.take()
        {
            tell_all(shared, || DiskOrder::Stay { id: now.order.id });
        }
    }
}

/// An order for every shard.
pub(super) fn tell_all(shared: &Shared, order: impl Fn() -> DiskOrder) {
    for shard in 0..shared.shards.len() {
        shared.mail(shard, Mail::Disk(order()));
    }
}
