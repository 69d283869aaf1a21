//! `/v1/cluster`: health, format, shutdown.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sheepdog_client::admin::types::{
    Class, Cluster, ClusterFormat, ClusterStatus, ErrorCode, FormatRequest, Warning,
};
use sheepdog_engine::state::{ClusterState, Group, Member, Policy};
use sheepdog_proto::NodeId;
use sheepdog_proto::command::Command;

use super::Handler;
use super::failure::AdminError;
use crate::control::now_ns;

/// 1,024 groups per class: fine for tens of sheep.
const PARTITION_BITS: u8 = 10;
const OBJECT_SHIFT: u8 = 22;

pub(super) async fn info(State(admin): Handler) -> Json<Cluster> {
    let mut cluster = describe(&admin.state());
    cluster.warnings.extend(admin.disk_warnings());
    Json(cluster)
}

pub(super) async fn format(
    State(admin): Handler,
    Json(request): Json<FormatRequest>,
) -> Result<Json<Cluster>, AdminError> {
    let mut id = [0_u8; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| AdminError::new(ErrorCode::Internal, format!("no randomness: {error}")))?;
    let command = Command::Format {
        cluster: u128::from_le_bytes(id),
        time_ns: now_ns(),
        partition_bits: request.partition_bits.unwrap_or(PARTITION_BITS),
        object_shift: request.object_shift.unwrap_or(OBJECT_SHIFT),
        copies: request.copies.into(),
    };
    let result = admin.shared.command(command).await;
    result.map_err(|error| AdminError::from_command(error, &admin.state()))?;
    Ok(Json(describe(&admin.state())))
}

pub(super) async fn shutdown(State(admin): Handler) -> Result<StatusCode, AdminError> {
    let result = admin.shared.command(Command::Shutdown { time_ns: now_ns() }).await;
    result.map_err(|error| AdminError::from_command(error, &admin.state()))?;
    Ok(StatusCode::ACCEPTED)
}

fn describe(state: &ClusterState) -> Cluster {
    let status = match (state.stopping, &state.format) {
        (true, _) => ClusterStatus::Stopping,
        (false, None) => ClusterStatus::WaitingForFormat,
        (false, Some(_)) => ClusterStatus::Running,
    };
    let format = state.format.as_ref().map(|format| ClusterFormat {
        cluster: format!("{:032x}", format.cluster),
        created_ms: format.time_ns / 1_000_000,
        copies: state.policies[usize::from(format.policy.0)].copies.into(),
        object_shift: format.object_shift,
        partitions: 1 << format.partition_bits,
    });
    let classes: Vec<Class> = (0..)
        .zip(state.policies.iter())
        .map(|(number, policy)| class(state, number, policy))
        .collect();
    Cluster {
        status,
        format,
        nodes_up: state.members.up().count() as u32,
        nodes_known: state.members.iter().count() as u32,
        warnings: warnings(state, &classes),
        classes,
        log_index: state.index.0,
    }
}

fn class(state: &ClusterState, policy: u8, class: &Policy) -> Class {
    let (mut clean, mut moving, mut degraded) = (0, 0, 0);
    let (mut waiting, mut unavailable) = (0, 0);
    for group in class.groups.iter() {
        let live = group.live_count(&state.members);
        let slot = if live == 0 {
            &mut unavailable
        } else if live < group.copies_min() {
            &mut waiting
        } else if live < usize::from(group.copies) {
            &mut degraded
        } else if !group.is_settled() {
            &mut moving
        } else {
            &mut clean
        };
        *slot += 1;
    }
    Class {
        policy,
        copies: class.copies.into(),
        copies_placed: class.count,
        total: class.groups.len() as u32,
        clean,
        moving,
        degraded,
        waiting,
        unavailable,
    }
}

fn warnings(state: &ClusterState, classes: &[Class]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if state.format.is_none() {
        warnings.push(Warning {
            message: "The cluster has no format yet.".to_owned(),
            action: "Start all sheep, then run `dog cluster format`.".to_owned(),
        });
    }
    let down: Vec<String> = state
        .members
        .iter()
        .filter(|member| !member.up && !member.is_out)
        .map(|member| format!("{} ({})", member.node, member.addresses.peer))
        .collect();
    if !down.is_empty() {
        warnings.push(Warning {
            message: format!("Down: node {}.", down.join(", ")),
            action: "Start these sheep again. If they stay away, their copies are made on other \
                     sheep, where there are zones enough."
                .to_owned(),
        });
    }
    warnings.extend(state.members.up().filter_map(silent));
    warnings.extend(state.members.up().filter_map(|member| incomplete(state, member)));
    let sum = |read: fn(&Class) -> u32| classes.iter().map(read).sum::<u32>();
    for (count, message, action) in [
        (
            sum(|class| class.unavailable),
            "placement groups have no copy that is up: reads and writes to them wait",
            "Start the sheep that are down; nothing is lost while their disks exist.",
        ),
        (
            sum(|class| class.waiting),
            "placement groups have too few copies that are up: writes to them wait",
            "Start the sheep that are down.",
        ),
        (
            sum(|class| class.degraded),
            "placement groups have fewer copies than they should",
            "Start the sheep that are down. Those that are up fetch what they lack by themselves; \
             `dog node recovery` shows how far they are. The copies that remain are complete.",
        ),
    ] {
        if count > 0 {
            let message = format!("{count} {message}.");
            warnings.push(Warning { message, action: action.to_owned() });
        }
    }
    warnings
}

/// A member that is up, but others hear nothing of it.
fn silent(member: &Member) -> Option<Warning> {
    let by: Vec<String> = member.silent_for.iter().map(NodeId::to_string).collect();
    let (node, address) = (member.node, &member.addresses.peer);
    (!by.is_empty()).then(|| Warning {
        message: format!(
            "Node {} hears nothing of node {node} ({address}), which is up.",
            by.join(", ")
        ),
        action:
            "Look at the network between them, and at the load of that host. Writes that need it \
                 wait; if two sheep in different zones say so, the others go on without it."
                .to_owned(),
    })
}

/// A member that is up and has a place in groups, but not their data.
fn incomplete(state: &ClusterState, member: &Member) -> Option<Warning> {
    let is_out = |group: &&Group| {
        group.targets.contains(&member.node) && !group.in_sync.contains(&member.node)
    };
    let groups = state.policies.iter().flat_map(|policy| policy.groups.iter());
    let count = groups.filter(is_out).count();
    let (node, address) = (member.node, &member.addresses.admin);
    (count > 0).then(|| Warning {
        message: format!(
            "Node {node} is up, but its copies of {count} placement groups are not complete yet: \
             it missed writes while it was down, a disk of it failed, or they move here."
        ),
        action: format!(
            "It fetches them by itself: `dog node recovery` shows how far it is. If that stands \
             still, see its disks with `dog node md info`, asked at {address}."
        ),
    })
}
