//! `/v1/vdis/{name}/data`: reading and writing a VDI for scripts, through its gateway here.
//!
//! Holds:
//!   D1 a VDI that a client has open can be read, for it is read through its one owner; it is
//!      not written, for two writers would spoil it.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sheepdog_attach::door::{Door, Face, Kind};
use sheepdog_attach::opener::Origin;
use sheepdog_client::admin::types::{DATA_BYTES_MAX, DataRange, ErrorCode};
use sheepdog_engine::volume::{Answer, Operation, Refusal};
use sheepdog_proto::{Payload, Vid};

use super::failure::AdminError;
use super::vdi::find;
use super::{Admin, Handler};
use crate::shard::ShardDoor;

pub(super) async fn read(
    State(admin): Handler,
    Path(name): Path<String>,
    Query(range): Query<DataRange>,
) -> Result<Response, AdminError> {
    let length = range.length.unwrap_or(DATA_BYTES_MAX);
    if length > DATA_BYTES_MAX {
        let message = format!("at most {DATA_BYTES_MAX} bytes can be read at once");
        return Err(AdminError::new(ErrorCode::Invalid, message));
    }
    let vid = admin.check_range(&name, range.offset, length)?;
    let status = Operation::Status { offset: range.offset, len: length };
    if let Answer::Extents(extents) = admin.operate(vid, status, Kind::Other, 0).await?
        && extents.iter().all(|extent| !extent.allocated)
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let read = Operation::Read { offset: range.offset, len: length as u32 };
    let Answer::Data(data) = admin.operate(vid, read, Kind::Read, length).await? else {
        return Err(AdminError::new(ErrorCode::Internal, "a read without data"));
    };
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, data.to_vec()).into_response())
}

pub(super) async fn write(
    State(admin): Handler,
    Path(name): Path<String>,
    Query(range): Query<DataRange>,
    body: Bytes,
) -> Result<StatusCode, AdminError> {
    let length = body.len() as u64;
    let vid = admin.check_range(&name, range.offset, length)?;
    admin.check_writable(vid)?;
    let write = Operation::Write { offset: range.offset, data: Payload::from(&body[..]) };
    admin.operate(vid, write, Kind::Write, length).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn zero(
    State(admin): Handler,
    Path(name): Path<String>,
    Query(range): Query<DataRange>,
) -> Result<StatusCode, AdminError> {
    let length = range.length.unwrap_or(0);
    let vid = admin.check_range(&name, range.offset, length)?;
    admin.check_writable(vid)?;
    let zero = Operation::Zero { offset: range.offset, len: length, discard: false };
    admin.operate(vid, zero, Kind::Zero, length).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn release(
    State(admin): Handler,
    Path(name): Path<String>,
) -> Result<StatusCode, AdminError> {
    let vid = find(&admin.state(), &name)?.vid;
    if admin.shared.openers.holder(vid).is_none() {
        admin.let_go(vid).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Admin {
    fn check_range(&self, name: &str, offset: u64, length: u64) -> Result<Vid, AdminError> {
        let state = self.state();
        let vdi = find(&state, name)?;
        match offset.checked_add(length) {
            Some(end) if end <= vdi.size => Ok(vdi.vid),
            _ => {
                let message = format!(
                    "bytes {offset}+{length} lie beyond the end: the VDI has {} bytes",
                    vdi.size
                );
                Err(AdminError::new(ErrorCode::Invalid, message))
            }
        }
    }

    /// D1.
    fn check_writable(&self, vid: Vid) -> Result<(), AdminError> {
        match self.shared.openers.holder(vid) {
            Some(busy) if busy.face != Face::Admin => self.check_unused(vid),
            _ => Ok(()),
        }
    }

    /// One operation, as a client with one connection that lasts as long as the operation.
    async fn operate(
        &self,
        vid: Vid,
        operation: Operation,
        kind: Kind,
        bytes: u64,
    ) -> Result<Answer, AdminError> {
        let openers = &self.shared.openers;
        let connection = openers.connect(Face::Admin, Origin::Process(std::process::id()));
        openers.touch(connection, vid, Instant::now());
        let shard = self.shared.shard_of(vid);
        let result = self
            .on_shard(shard, move |shard, tell| {
                tokio::task::spawn_local(async move {
                    let door = ShardDoor::new(shard);
                    let started = Instant::now();
                    let result = run(&door, vid, operation).await;
                    door.observe(Face::Admin, kind, bytes, started.elapsed(), result.is_ok());
                    let _ = tell.send(result);
                });
            })
            .await;
        openers.disconnect(connection, Instant::now());
        result?.map_err(AdminError::from_refusal)
    }

    /// Lets go of a VDI that nobody uses, so that another sheep may have it.
    pub(super) async fn let_go(self: &Arc<Self>, vid: Vid) -> Result<(), AdminError> {
        self.shared.openers.release(vid);
        self.detach(vid).await
    }

    /// The log has this sheep's attachment no more.
    pub(super) async fn detach(&self, vid: Vid) -> Result<(), AdminError> {
        self.on_shard(self.shared.shard_of(vid), move |shard, tell| {
            tokio::task::spawn_local(async move {
                shard.detach(vid).await;
                let _ = tell.send(());
            });
        })
        .await
    }
}

async fn run(door: &ShardDoor, vid: Vid, operation: Operation) -> Result<Answer, Refusal> {
    door.attach(vid).await?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done = Box::new(move |result| {
        let _ = sender.send(result);
    });
    door.submit(vid, operation, done);
    receiver.await.unwrap_or(Err(Refusal::Stopping))
}
