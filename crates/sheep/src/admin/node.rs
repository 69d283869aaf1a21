//! `/v1/nodes`, `/v1/node`, `/v1/checkpoint`, `/v1/objects`, `/metrics`: sheep, and what this
//! one stores.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use sheepdog_client::admin::types::{ErrorCode, Node, NodeInfo, Recovery, VidHex};
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::{BLOCK_BYTES, NodeId, ObjectKind, Oid};
use sheepdog_store::{ObjectSummary, Reply, Request};
use tokio::time::timeout;

use super::failure::AdminError;
use super::{Admin, Handler};
use crate::shard::sweep::PATIENCE;

pub(super) async fn list(State(admin): Handler) -> Json<Vec<Node>> {
    let state = admin.state();
    let me = admin.shared.me.node;
    let node = |member: &sheepdog_engine::state::Member| Node {
        node: member.node.0,
        uuid: format!("{:032x}", member.uuid),
        zone: member.zone,
        weight: member.weight,
        up: member.up,
        out: member.is_out,
        incarnation: member.incarnation.0,
        addresses: member.addresses.clone().into(),
        this: member.node == me,
    };
    Json(state.members.iter().map(node).collect())
}

pub(super) async fn info(State(admin): Handler) -> Result<Json<NodeInfo>, AdminError> {
    let state = admin.state();
    let me = admin.shared.me.node;
    let mut objects = BTreeMap::new();
    let mut used = 0_u64;
    for object in all_objects(&admin).await? {
        used += u64::from(object.blocks) * BLOCK_BYTES as u64;
        let counts = object.oid.kind() == ObjectKind::Data && is_first(&state, object.oid, me);
        if counts {
            *objects.entry(VidHex(object.oid.vid())).or_insert(0) += 1;
        }
    }
    let stores = state.members.get(me).is_some_and(|member| member.weight > 0);
    let available = admin.available_bytes();
    let (used, available) = if stores { (used, available) } else { (0, 0) };
    let troubles = admin.disk_warnings().into_iter();
    let troubles = troubles.map(|warning| format!("{} {}", warning.message, warning.action));
    Ok(Json(NodeInfo {
        node: me.0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        shards: admin.shared.shards.len() as u16,
        size: used + available,
        used,
        available,
        objects,
        troubles: troubles.collect(),
        recovery: recovery(&admin, &state),
    }))
}

/// What this sheep still fetches from others, and what it has fetched.
fn recovery(admin: &Admin, state: &ClusterState) -> Recovery {
    let me = admin.shared.me.node;
    let progress = crate::metrics::joining(&admin.shared.metrics);
    let lacking = state.groups().filter(|(_, group)| group.lacks(me)).count();
    let joining = state.groups().filter(|(_, group)| group.joined(me).is_some()).count();
    Recovery {
        groups_waiting: lacking as u32,
        groups_joining: joining as u32,
        groups_done: progress.groups_done,
        objects_accepted: progress.accepted,
        objects_compared: progress.compared,
        objects_dropped: progress.dropped,
        bytes_fetched: progress.blocks * BLOCK_BYTES as u64,
        seconds_left: admin.shared.forecast.seconds(),
    }
}

/// Puts everything in place that only the stores' logs have.
pub(super) async fn checkpoint(State(admin): Handler) -> Result<(), AdminError> {
    for shard in 0..admin.shared.shards.len() {
        admin
            .on_shard(shard, |shard, tell| {
                tokio::task::spawn_local(async move {
                    shard.checkpoint_stores().await;
                    let _ = tell.send(());
                });
            })
            .await?;
    }
    Ok(())
}

/// True for exactly one of the members that are up.
fn is_first(state: &ClusterState, oid: Oid, me: NodeId) -> bool {
    let Some((_, group)) = state.group_of(oid) else { return false };
    state.live(group).next().is_some_and(|first| first.node == me)
}

async fn all_objects(admin: &Admin) -> Result<Vec<ObjectSummary>, AdminError> {
    let mut all = Vec::new();
    for shard in 0..admin.shared.shards.len() {
        let part = admin
            .on_shard(shard, |shard, tell| {
                tokio::task::spawn_local(async move {
                    let mut objects = Vec::new();
                    let mut after = None;
                    loop {
                        let Ok(listing) = timeout(PATIENCE, shard.list(after)).await else {
                            return;
                        };
                        let Some(listing) = listing else { break };
                        objects.extend(listing.objects);
                        after = listing.next;
                        if after.is_none() {
                            break;
                        }
                    }
                    let _ = tell.send(objects);
                });
            })
            .await
            .map_err(|_| silent_disk())?;
        all.extend(part);
    }
    Ok(all)
}

fn silent_disk() -> AdminError {
    AdminError::new(ErrorCode::Unavailable, "a disk of this sheep does not answer now")
        .hint("`dog node md info`, asked at this sheep, shows which")
}

/// Whether this sheep's own store has an object.
pub(super) async fn object(
    State(admin): Handler,
    Path(oid): Path<String>,
) -> Result<Json<bool>, AdminError> {
    let oid = u64::from_str_radix(&oid, 16).ok().and_then(Oid::from_wire);
    let oid = oid.ok_or_else(|| {
        AdminError::new(ErrorCode::Invalid, "an object id is 16 hexadecimal digits")
    })?;
    Ok(Json(holds(&admin, oid).await?))
}

/// Whether this sheep's own store has an object.
pub(super) async fn holds(admin: &Admin, oid: Oid) -> Result<bool, AdminError> {
    let state = admin.state();
    let me = state.members.get(admin.shared.me.node);
    let (Some((pg, _)), Some(me)) = (state.group_of(oid), me) else { return Ok(false) };
    admin
        .on_shard(usize::from(me.shard_of(pg)), move |shard, tell| {
            tokio::task::spawn_local(async move {
                let after = oid.get().checked_sub(1).and_then(Oid::from_wire);
                let found = shard.ask_store(Request::List { after, limit: 1 }).await;
                let held = match found {
                    Some(Ok(Reply::List(listing))) => {
                        listing.objects.iter().any(|object| object.oid == oid)
                            || listing.rotten.iter().any(|(rotten, _)| *rotten == oid)
                    }
                    _ => false,
                };
                let _ = tell.send(held);
            });
        })
        .await
}

pub(super) async fn metrics(State(admin): Handler) -> String {
    crate::metrics::render(&admin.shared.metrics)
}
