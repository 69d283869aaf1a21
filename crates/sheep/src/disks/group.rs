//! Which placement groups have a part in a bucket.

use std::ops::Range;

use sheepdog_engine::state::ClusterState;
use sheepdog_proto::{NodeId, Partition, PgId, PolicyId};

/// Bits of a bucket's number.
const BUCKET_BITS: u8 = 8;

/// The buckets that a partition, out of 2^`bits`, has a part in.
fn buckets_of(partition: Partition, bits: u8) -> Range<u32> {
    let partition = u32::from(partition.0);
    if let Some(more) = bits.checked_sub(BUCKET_BITS) {
        let bucket = partition >> more;
        return bucket..bucket + 1;
    }
    let fewer = BUCKET_BITS - bits;
    partition << fewer..(partition + 1) << fewer
}

/// Groups whose changes a sheep takes, in sync or joining, and that have a part in such a bucket.
pub(crate) fn taken(state: &ClusterState, node: NodeId, is_such: impl Fn(u8) -> bool) -> Vec<PgId> {
    let Some(format) = &state.format else { return Vec::new() };
    let mut groups = Vec::new();
    for (policy, class) in (0..).map(PolicyId).zip(state.policies.iter()) {
        for (partition, group) in (0..).map(Partition).zip(class.groups.iter()) {
            let mut buckets = buckets_of(partition, format.partition_bits);
            if group.takes(node) && buckets.any(|bucket| is_such(bucket as u8)) {
                groups.push(PgId { policy, partition });
            }
        }
    }
    groups
}

#[cfg(test)]
#[path = "group/tests.rs"]
mod tests;
