//! `/v1/vdis/{name}/unlock`: a VDI is taken from its client.
//!
//! Way: the sheep that owns it closes the client's connections, waits for what was submitted, and
//!      lets go. Others ask it to. If it does not answer, only its end can free the VDI: until then
//!      it may serve its client, which would read what is no longer true.
//! Holds:
//!   UL1 a connection that the VDI is taken from ends before the VDI is free;
//!   UL2 what was submitted and cannot end is fenced, never acknowledged: the log frees the VDI,
//!       and the next owner's barrier comes before its first answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use sheepdog_client::admin::AdminClient;
use sheepdog_client::admin::types::{ErrorCode, Unlock};
use sheepdog_engine::state::Attachment;
use sheepdog_proto::Vid;
use sheepdog_proto::command::Command;
use tokio::time::{sleep, timeout};

use super::failure::{AdminError, holder};
use super::vdi::find;
use super::{Admin, Handler};

/// For connections to end.
const CLOSE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// For what was submitted to end.
const DRAIN: Duration = Duration::from_secs(5);
/// For another sheep to do all that; longer than what a silent sheep owns stays its own.
const ASK: Duration = Duration::from_secs(15);

pub(super) async fn unlock(
    State(admin): Handler,
    Path(name): Path<String>,
    Query(how): Query<Unlock>,
) -> Result<StatusCode, AdminError> {
    let state = admin.state();
    let vdi = find(&state, &name)?;
    let me = admin.shared.me.node;
    match &vdi.attachment {
        Some(owner) if owner.node != me && how.here => {
            let what = format!("the VDI is open through node {} now", owner.node);
            return Err(AdminError::locked(holder(owner, &state), what));
        }
        Some(owner) if owner.node != me => admin.ask_to_unlock(&name, owner).await?,
        owner => admin.unlock_here(vdi.vid, owner.as_ref()).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// O5 of the openers, as long as this lives.
struct Closing {
    admin: Arc<Admin>,
    vid: Vid,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.admin.shared.openers.end_expel(self.vid);
    }
}

impl Admin {
    async fn unlock_here(
        self: &Arc<Self>,
        vid: Vid,
        owner: Option<&Attachment>,
    ) -> Result<(), AdminError> {
        let expelled = self.shared.openers.expel(vid, Instant::now());
        let _closing = Closing { admin: self.clone(), vid };
        tracing::warn!(%vid, connections = expelled.len(), "VDI unlocked by an operator");
        let ended = async {
            while self.shared.openers.any_lives(&expelled) {
                sleep(LOOK_EVERY).await;
            }
        };
        let _ = timeout(CLOSE, ended).await; // UL1; one that hangs is fenced with the rest
        if let Ok(end) = timeout(DRAIN, self.detach(vid)).await {
            return end;
        }
        // An attach may have been under way when this began.
        let state = self.state();
        let now = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.clone());
        match now.or_else(|| owner.cloned()) {
            Some(owner) => self.free(vid, &owner).await, // UL2
            None => Ok(()),
        }
    }

    /// Asks the sheep through which the VDI is open.
    async fn ask_to_unlock(&self, name: &str, owner: &Attachment) -> Result<(), AdminError> {
        let state = self.state();
        let who = holder(owner, &state);
        let Ok(endpoint) = who.admin.parse() else {
            return Err(AdminError::new(ErrorCode::Internal, "the address of a sheep is unknown"));
        };
        let client = AdminClient::new(endpoint, Some(ASK));
        let freed = self.is_freed(owner, name);
        tokio::pin!(freed);
        let is_freed = tokio::select! {
            is_freed = &mut freed => is_freed,
            asked = client.unlock(name, Unlock { here: true }) => {
                if let Some(failure) = asked.as_ref().err().and_then(|error| error.failure()) {
                    return Err(AdminError(failure.clone()));
                }
                freed.await
            }
        };
        if is_freed {
            return Ok(());
        }
        let what = format!("node {}, through which the VDI is open, does not answer", owner.node);
        Err(AdminError::locked(who, what).hint(
            "stop that sheep or its host: what a sheep owns is free for others some seconds after \
             its end; nobody else can tell whether it still serves the client",
        ))
    }

    /// Waits until the log, as far as it is known here, says that this owner has it no more.
    async fn is_freed(&self, owner: &Attachment, name: &str) -> bool {
        let freed = async {
            loop {
                let state = self.state();
                let now = state.catalogue.find(name).and_then(|vdi| vdi.attachment.as_ref());
                if now.is_none_or(|now| now.generation != owner.generation) {
                    return;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(ASK, freed).await.is_ok()
    }

    async fn free(&self, vid: Vid, owner: &Attachment) -> Result<(), AdminError> {
        let command = Command::Detach { vid, generation: owner.generation };
        let freed = self.shared.command(command).await;
        freed.map(drop).map_err(|error| AdminError::from_command(error, &self.state()))
    }
}
