//! Failures of the admin API, each with what to do next.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sheepdog_attach::door::CommandError;
use sheepdog_client::admin::types::{ErrorCode, Failure, Holder};
use sheepdog_engine::state::{Attachment, ClusterState, Refused};
use sheepdog_engine::volume::Refusal;

/// The body of an answer that is no success.
#[derive(Debug)]
pub(super) struct AdminError(pub(super) Failure);

impl AdminError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Failure { code, message: message.into(), hint: None, holder: None })
    }

    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.0.hint = Some(hint.to_owned());
        self
    }

    pub(super) fn no_vdi(name: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no VDI {name:?}"))
            .hint("`dog vdi list` shows the VDIs there are")
    }

    pub(super) fn stopping() -> Self {
        Self::new(ErrorCode::Stopping, "this sheep is stopping").hint("ask another sheep")
    }

    /// Somebody has the VDI open.
    pub(super) fn locked(holder: Holder, what: String) -> Self {
        let mut failure = Self::new(ErrorCode::Locked, what).hint(
            "stop the client that uses it, or ask the sheep through which it is open; \
             `dog vdi lock unlock` takes it away from a client that hangs",
        );
        failure.0.holder = Some(holder);
        failure
    }

    pub(super) fn from_command(error: CommandError, state: &ClusterState) -> Self {
        match error {
            CommandError::Refused(refused) => Self::from_refused(refused, state),
            CommandError::Unavailable => {
                Self::new(ErrorCode::Unavailable, "the coordination log cannot be reached now")
                    .hint("try again; if it lasts, look at the logs of the sheep")
            }
        }
    }

    fn from_refused(refused: Refused, state: &ClusterState) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::AlreadyFormatted => Self::new(ErrorCode::AlreadyFormatted, text)
                .hint("to begin anew, stop all sheep and give them empty directories"),
            Refused::NotFormatted => {
                Self::new(ErrorCode::NotFormatted, text).hint("run `dog cluster format`")
            }
            Refused::Invalid(_) => Self::new(ErrorCode::Invalid, text),
            Refused::TooFewZones { .. } => Self::new(ErrorCode::TooFewZones, text)
                .hint("start more sheep in other zones, or ask for fewer copies"),
            Refused::NameTaken(_) => Self::new(ErrorCode::Exists, text).hint("choose another name"),
            Refused::NoVdi => Self::new(ErrorCode::NotFound, text),
            Refused::Locked(owner) => Self::locked(holder(&owner, state), text),
            Refused::NoVid => Self::new(ErrorCode::NoSpace, text),
            Refused::Shrink => Self::new(ErrorCode::Shrink, text)
                .hint("make a smaller VDI and copy what is needed"),
        }
    }

    pub(super) fn from_refusal(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoVdi => Self::new(ErrorCode::NotFound, text),
            Refusal::Locked { node, address, since_ns } => {
                let since_ms = since_ns / 1_000_000;
                let holder = Holder { node: node.0, admin: address, since_ms, generation: 0 };
                Self::locked(holder, text)
            }
            Refusal::Invalid(_) => Self::new(ErrorCode::Invalid, text),
            Refusal::Fenced => Self::new(ErrorCode::Unavailable, text).hint("try again at once"),
            Refusal::Io(_) => Self::new(ErrorCode::Io, text)
                .hint("the block has no good copy; look at the logs of the sheep that hold it"),
            Refusal::NoSpace => {
                Self::new(ErrorCode::NoSpace, text).hint("delete VDIs or add sheep")
            }
            Refusal::NotFormatted => {
                Self::new(ErrorCode::NotFormatted, text).hint("run `dog cluster format`")
            }
            Refusal::Stopping => Self::stopping(),
        }
    }
}

/// Who owns a VDI, in the API's words.
pub(super) fn holder(owner: &Attachment, state: &ClusterState) -> Holder {
    let admin = state.members.get(owner.node).map(|member| member.addresses.admin.clone());
    Holder {
        node: owner.node.0,
        admin: admin.unwrap_or_default(),
        since_ms: owner.since_ns / 1_000_000,
        generation: owner.generation.0,
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

pub(super) async fn unknown_path() -> AdminError {
    AdminError::new(ErrorCode::NotFound, "the admin API has no such path")
}
