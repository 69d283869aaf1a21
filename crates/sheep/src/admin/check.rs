//! `/v1/vdis/{name}/check`: this sheep's copies of a VDI are read, verified and compared.

use axum::Json;
use axum::extract::{Path, Query, State};
use sheepdog_client::admin::types::{CHECK_OBJECTS_MAX, CheckRange, ErrorCode, VdiCheck};
use sheepdog_proto::{ObjectKind, Oid};

use super::failure::AdminError;
use super::vdi::find;
use super::{Admin, Handler};
use crate::shard::scrub::{MAP_SHIFT, Scrubbed};

pub(super) async fn check(
    State(admin): Handler,
    Path(name): Path<String>,
    Query(range): Query<CheckRange>,
) -> Result<Json<VdiCheck>, AdminError> {
    if range.count > CHECK_OBJECTS_MAX {
        let message = format!("at most {CHECK_OBJECTS_MAX} objects can be checked at once");
        return Err(AdminError::new(ErrorCode::Invalid, message));
    }
    let state = admin.state();
    let vdi = find(&state, &name)?;
    let end = u64::from(range.from.saturating_add(range.count)).min(vdi.object_count()) as u32;
    let mut oids: Vec<Oid> = (range.from..end).map(|index| Oid::data(vdi.vid, index)).collect();
    if range.from == 0 {
        oids.push(Oid::map(vdi.vid, 0));
    }
    let mut sum = Scrubbed::default();
    for oid in oids {
        let shift = if oid.kind() == ObjectKind::Map { MAP_SHIFT } else { vdi.object_shift };
        sum.add(&admin.scrub(oid, shift).await?);
    }
    let Scrubbed { objects, bytes, bad, healed, behind, unequal, alone } = sum;
    Ok(Json(VdiCheck { objects, bytes, bad, healed, behind, unequal, alone }))
}

impl Admin {
    /// Nothing if the object is not kept here.
    async fn scrub(&self, oid: Oid, shift: u8) -> Result<Scrubbed, AdminError> {
        let state = self.state();
        let me = state.members.get(self.shared.me.node);
        let (Some((pg, _)), Some(me)) = (state.group_of(oid), me) else {
            return Ok(Scrubbed::default());
        };
        self.on_shard(usize::from(me.shard_of(pg)), move |shard, tell| {
            tokio::task::spawn_local(async move {
                let _ = tell.send(shard.scrub_object(oid, shift, 0).await);
            });
        })
        .await
    }
}
