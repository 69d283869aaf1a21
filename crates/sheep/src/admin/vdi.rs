//! `/v1/vdis`: the catalogue, and where objects are.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sheepdog_client::admin::AdminClient;
use sheepdog_client::admin::types::{
    ErrorCode, NewVdi, ObjectCopy, ObjectPlace, ResizeRequest, Vdi, VidHex,
};
use sheepdog_engine::state::{ClusterState, Outcome, Vdi as Record};
use sheepdog_proto::command::Command;
use sheepdog_proto::{NodeId, Oid, Vid};

use super::failure::{AdminError, holder};
use super::{Admin, Handler, node};
use crate::control::now_ns;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn list(State(admin): Handler) -> Json<Vec<Vdi>> {
    let state = admin.state();
    Json(state.catalogue.iter().map(|vdi| describe(&state, vdi)).collect())
}

pub(super) async fn one(
    State(admin): Handler,
    Path(name): Path<String>,
) -> Result<Json<Vdi>, AdminError> {
    let state = admin.state();
    let vdi = find(&state, &name)?;
    Ok(Json(describe(&state, vdi)))
}

pub(super) async fn create(
    State(admin): Handler,
    Json(request): Json<NewVdi>,
) -> Result<(StatusCode, Json<Vdi>), AdminError> {
    let command = Command::CreateVdi {
        name: request.name,
        size: request.size,
        copies: request.copies.map(Into::into),
        object_shift: request.object_shift,
        time_ns: now_ns(),
    };
    let result = admin.shared.command(command).await;
    let (outcome, _) = result.map_err(|e| AdminError::from_command(e, &admin.state()))?;
    let state = admin.state();
    let vdi = match outcome {
        Outcome::Created(vid) => state.catalogue.get(vid),
        _ => None,
    };
    let vdi = vdi.ok_or_else(|| AdminError::new(ErrorCode::NotFound, "deleted meanwhile"))?;
    Ok((StatusCode::CREATED, Json(describe(&state, vdi))))
}

pub(super) async fn delete(
    State(admin): Handler,
    Path(name): Path<String>,
) -> Result<StatusCode, AdminError> {
    let vid = find(&admin.state(), &name)?.vid;
    admin.check_unused(vid)?;
    admin.let_go(vid).await?;
    let result = admin.shared.command(Command::DeleteVdi { vid }).await;
    result.map_err(|error| AdminError::from_command(error, &admin.state()))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resize(
    State(admin): Handler,
    Path(name): Path<String>,
    Json(request): Json<ResizeRequest>,
) -> Result<Json<Vdi>, AdminError> {
    let vid = find(&admin.state(), &name)?.vid;
    let command = Command::ResizeVdi { vid, size: request.size };
    let result = admin.shared.command(command).await;
    result.map_err(|error| AdminError::from_command(error, &admin.state()))?;
    let state = admin.state();
    let vdi = state.catalogue.get(vid).ok_or_else(|| AdminError::no_vdi(&name))?;
    Ok(Json(describe(&state, vdi)))
}

/// Where one data object is. Sheep that are up are asked whether they have it.
pub(super) async fn object(
    State(admin): Handler,
    Path((name, index)): Path<(String, u32)>,
) -> Result<Json<ObjectPlace>, AdminError> {
    let state = admin.state();
    let vdi = find(&state, &name)?;
    if u64::from(index) >= vdi.object_count() {
        let count = vdi.object_count();
        let message = format!("object {index} lies beyond the end: the VDI has {count} objects");
        return Err(AdminError::new(ErrorCode::Invalid, message));
    }
    let oid = Oid::data(vdi.vid, index);
    let (pg, group) = state
        .group_of(oid)
        .ok_or_else(|| AdminError::new(ErrorCode::Internal, "no group for this object"))?;
    let mut nodes: Vec<NodeId> = group.targets.clone();
    nodes.extend(group.in_sync.iter().filter(|node| !group.targets.contains(node)));
    let mut copies = Vec::new();
    for node in nodes {
        copies.push(ObjectCopy { node: node.0, held: ask(&admin, &state, node, oid).await });
    }
    Ok(Json(ObjectPlace {
        oid: oid.to_string(),
        index,
        allocated: copies.iter().any(|copy| copy.held == Some(true)),
        group: pg.to_string(),
        view: group.view.0,
        targets: group.targets.iter().map(|node| node.0).collect(),
        in_sync: group.in_sync.iter().map(|node| node.0).collect(),
        copies,
    }))
}

async fn ask(admin: &Admin, state: &ClusterState, node: NodeId, oid: Oid) -> Option<bool> {
    if node == admin.shared.me.node {
        return node::holds(admin, oid).await.ok();
    }
    let member = state.members.get(node).filter(|member| member.up)?;
    let endpoint = member.addresses.admin.parse().ok()?;
    AdminClient::new(endpoint, Some(ASK_TIMEOUT)).holds(&oid.to_string()).await.ok()
}

pub(super) fn find<'a>(state: &'a ClusterState, name: &str) -> Result<&'a Record, AdminError> {
    state.catalogue.find(name).ok_or_else(|| AdminError::no_vdi(name))
}

fn describe(state: &ClusterState, vdi: &Record) -> Vdi {
    let class = &state.policies[usize::from(vdi.policy.0)];
    Vdi {
        vid: VidHex(vdi.vid),
        name: vdi.name.clone(),
        tag: vdi.tag.clone(),
        snap_id: vdi.snap_id,
        snapshot_ms: (vdi.snapshot_ns > 0).then_some(vdi.snapshot_ns / 1_000_000),
        size: vdi.size,
        object_shift: vdi.object_shift,
        copies: class.copies.into(),
        copies_placed: class.count,
        created_ms: vdi.created_ns / 1_000_000,
        parent: vdi.parent.map(VidHex),
        attachment: vdi.attachment.as_ref().map(|owner| holder(owner, state)),
    }
}

impl Admin {
    /// Refuses if a client of this sheep has the VDI open.
    pub(super) fn check_unused(&self, vid: Vid) -> Result<(), AdminError> {
        let Some(busy) = self.shared.openers.holder(vid) else { return Ok(()) };
        let state = self.state();
        let owner = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.as_ref());
        let what = format!(
            "{} ({:?}) has the VDI open through this sheep for {} s",
            busy.origin,
            busy.face,
            busy.since.elapsed().as_secs()
        );
        match owner {
            Some(owner) => Err(AdminError::locked(holder(owner, &state), what)),
            None => Err(AdminError::new(ErrorCode::Locked, what)),
        }
    }
}
