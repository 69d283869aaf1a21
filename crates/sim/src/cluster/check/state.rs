//! What one entry of the log may do to the state.
//!
//! Holds:
//!   STICKY      no in-sync set is empty;
//!   ONE-WRITER  a generation never falls, an owner has the newest one, and a new owner a newer;
//!   VIEW-RISES  a group that changes gets the entry's index as its view, others keep theirs;
//!   SETTLE      a member that is up leaves an in-sync set only by its own `Demote`, or when all
//!               who shall have copies are up and in sync.

use sheepdog_engine::state::{ClusterState, Group};
use sheepdog_proto::command::Command;
use sheepdog_proto::{NodeId, View};

pub(in super::super) fn check_entry(
    before: &ClusterState,
    after: &ClusterState,
    command: &Command,
) -> Result<(), String> {
    check_groups(before, after)?;
    check_leaving(before, after, command)?;
    check_owners(before, after)
}

fn groups(state: &ClusterState) -> impl Iterator<Item = (usize, usize, &Group)> {
    state.policies.iter().enumerate().flat_map(|(policy, class)| {
        class.groups.iter().enumerate().map(move |(number, group)| (policy, number, group))
    })
}

fn check_groups(before: &ClusterState, after: &ClusterState) -> Result<(), String> {
    for (policy, number, group) in groups(after) {
        if group.in_sync.is_empty() {
            return Err(format!("STICKY: nobody is in sync with group {policy}/{number}"));
        }
        let known = before.policies.get(policy).and_then(|class| class.groups.get(number));
        let Some(known) = known else { continue };
        let newest = View(after.index.0);
        let changed = (&known.in_sync, &known.targets) != (&group.in_sync, &group.targets);
        if group.view != newest && (changed || group.view != known.view) {
            let views = (known.view, group.view, newest);
            return Err(format!("VIEW-RISES: group {policy}/{number}: {views:?}"));
        }
    }
    Ok(())
}

fn check_leaving(
    before: &ClusterState,
    after: &ClusterState,
    command: &Command,
) -> Result<(), String> {
    let demoted = match command {
        Command::Demote { node, .. } | Command::Rest { node, .. } => Some(*node),
        _ => None,
    };
    let is_up = |node: &NodeId| after.members.get(*node).is_some_and(|member| member.up);
    for (policy, number, group) in groups(after) {
        let known = before.policies.get(policy).and_then(|class| class.groups.get(number));
        let Some(known) = known.filter(|known| known.in_sync != group.in_sync) else { continue };
        let has_left = |node: &&NodeId| !group.in_sync.contains(node) && is_up(node);
        let mut left = known.in_sync.iter().filter(has_left);
        let is_there = |node: &NodeId| group.in_sync.contains(node) && is_up(node);
        let may_leave = group.targets.iter().all(is_there);
        if let Some(node) = left.find(|node| Some(**node) != demoted && !may_leave) {
            let (group, sets) = ((policy, number), (&known.in_sync, &group.in_sync));
            return Err(format!("SETTLE: {node} leaves group {group:?}: {sets:?}"));
        }
    }
    Ok(())
}

fn check_owners(before: &ClusterState, after: &ClusterState) -> Result<(), String> {
    for vdi in after.catalogue.iter_used() {
        let known = before.catalogue.get_used(vdi.vid);
        let old = known.map_or_else(Default::default, |known| known.generation);
        let owner = vdi.attachment.as_ref();
        let held = known.and_then(|known| known.attachment.as_ref());
        let is_new = owner.is_some() && owner != held;
        let has_newest = owner.is_none_or(|owner| owner.generation == vdi.generation);
        if vdi.generation < old || !has_newest || is_new && vdi.generation <= old {
            return Err(format!("ONE-WRITER: {held:?} of generation {old}, then {vdi:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
