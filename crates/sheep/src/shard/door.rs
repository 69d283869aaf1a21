//! This shard as the faces see it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sheepdog_attach::door::{CommandError, Done, Door, Face, Kind, Parcel};
use sheepdog_attach::opener::Openers;
use sheepdog_engine::state::{ClusterState, Outcome};
use sheepdog_engine::volume::{Operation, Refusal};
use sheepdog_proto::Vid;
use sheepdog_proto::command::Command;

use super::Shard;
use super::mail::Mail;

/// The door of one shard.
#[derive(Clone)]
pub(crate) struct ShardDoor {
    shard: Rc<Shard>,
}

impl ShardDoor {
    pub(crate) const fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }
}

impl Door for ShardDoor {
    fn state(&self) -> Arc<ClusterState> {
        self.shard.state()
    }

    fn shard(&self) -> usize {
        usize::from(self.shard.index)
    }

    fn shard_of(&self, vid: Vid) -> usize {
        self.shard.shared.shard_of(vid)
    }

    fn hand_over(&self, shard: usize, parcel: Parcel) {
        self.shard.shared.mail(shard, Mail::Parcel(parcel));
    }

    fn openers(&self) -> &Openers {
        &self.shard.shared.openers
    }

    async fn command(&self, command: Command) -> Result<Outcome, CommandError> {
        let (outcome, index) = self.shard.shared.command(command).await?;
        self.shard.wait_applied(index).await;
        Ok(outcome)
    }

    async fn attach(&self, vid: Vid) -> Result<(), Refusal> {
        self.shard.attach(vid).await
    }

    async fn detach(&self, vid: Vid) {
        self.shard.detach(vid).await;
    }

    fn submit(&self, vid: Vid, operation: Operation, done: Done) {
        let token = self.shard.open_operation(done);
        self.shard.step(|gateway| gateway.submit(vid, operation, token));
    }

    fn observe(&self, face: Face, kind: Kind, bytes: u64, took: Duration, ok: bool) {
        self.shard.metrics.face(face, kind).note(bytes, took, ok);
    }
}
