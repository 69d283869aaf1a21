//! Taking and letting go of VDIs, for any number of clients that ask at once.
//!
//! Holds:
//!   A1 asking is a task of its own: a client that goes away in the middle leaves nothing half
//!      done;
//!   A2 a VDI that is being let go is let go completely before it is taken again;
//!   A3 what the gateway has drained is forgotten only when the log has it detached: taken again
//!      under the same generation, it would give stamps that were given before;
//!   A4 what the log has given to this sheep is let go also if the gateway never heard of it: the
//!      answer to the asking was lost, and nobody asked again.

use std::collections::BTreeMap;
use std::rc::Rc;

use sheepdog_attach::door::CommandError;
use sheepdog_engine::state::{Attachment, Outcome, Refused};
use sheepdog_engine::volume::Refusal;
use sheepdog_proto::command::Command;
use sheepdog_proto::{Generation, Vid};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::{Shard, append};
use crate::control::now_ns;

/// How long a VDI's owner may take to let go before an attach is refused.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Who waits for what.
#[derive(Default)]
pub(super) struct Waiters {
    attaching: BTreeMap<Vid, Vec<oneshot::Sender<Result<(), Refusal>>>>,
    detaching: BTreeMap<Vid, Vec<oneshot::Sender<()>>>,
}

impl Shard {
    /// See [`sheepdog_attach::door::Door::attach`].
    pub(crate) async fn attach(self: &Rc<Self>, vid: Vid) -> Result<(), Refusal> {
        self.wait_detached(vid).await; // A2
        if self.gateway.borrow().is_live(vid) {
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        let first = {
            let mut waiters = self.waiters.borrow_mut();
            let list = waiters.attaching.entry(vid).or_default();
            list.push(sender);
            list.len() == 1
        };
        if first {
            let shard = self.clone();
            tokio::task::spawn_local(async move { shard.acquire(vid).await }); // A1
        }
        receiver.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Asks the log for the VDI. What follows the grant ends in `note_live`.
    async fn acquire(self: Rc<Self>, vid: Vid) {
        match self.grant(vid).await {
            Ok(owner) => {
                tracing::info!(%vid, generation = owner.generation.0, "VDI attached here");
                self.step(|gateway| gateway.handle_granted(vid, &owner));
                if self.gateway.borrow().is_live(vid) {
                    self.end_attaching(vid, &Ok(()));
                }
            }
            Err(refusal) => self.end_attaching(vid, &Err(refusal)),
        }
    }

    async fn grant(&self, vid: Vid) -> Result<Attachment, Refusal> {
        // A client that closes its disk on one host and opens it on another is faster than the log.
        let patience = Instant::now() + HAND_OVER;
        loop {
            let state = self.state();
            if state.format.is_none() {
                return Err(Refusal::NotFormatted);
            }
            let vdi = state.catalogue.get(vid).ok_or(Refusal::NoVdi)?;
            if let Some(owner) = &vdi.attachment {
                if self.is_mine(owner) {
                    return Ok(owner.clone());
                }
                let newer = self.wait_newer(state.index);
                if tokio::time::timeout_at(patience, newer).await.is_err() {
                    return Err(self.locked(owner));
                }
                continue;
            }
            let me = self.shared.me;
            let command = Command::Attach {
                vid,
                node: me.node,
                incarnation: me.incarnation,
                time_ns: now_ns(),
            };
            let index = match self.shared.command(command).await {
                Ok((Outcome::Void, _)) => return Err(Refusal::Stopping),
                Ok((_, index)) => index,
                Err(CommandError::Refused(Refused::Locked(owner))) => owner.index,
                Err(CommandError::Refused(Refused::NoVdi)) => return Err(Refusal::NoVdi),
                Err(CommandError::Refused(Refused::Invalid(what))) => {
                    return Err(Refusal::Invalid(what));
                }
                Err(_) => return Err(Refusal::Stopping),
            };
            self.wait_applied(index).await;
        }
    }

    fn is_mine(&self, owner: &Attachment) -> bool {
        owner.node == self.shared.me.node && owner.incarnation == self.shared.me.incarnation
    }

    fn locked(&self, owner: &Attachment) -> Refusal {
        let state = self.state();
        let address = state.members.get(owner.node).map(|m| m.addresses.admin.clone());
        Refusal::Locked {
            node: owner.node,
            address: address.unwrap_or_default(),
            since_ns: owner.since_ns,
        }
    }

    fn end_attaching(&self, vid: Vid, result: &Result<(), Refusal>) {
        let waiting = self.waiters.borrow_mut().attaching.remove(&vid).unwrap_or_default();
        for waiter in waiting {
            let _ = waiter.send(result.clone());
        }
    }

    pub(super) fn note_live(&self, vid: Vid) {
        self.end_attaching(vid, &Ok(()));
    }

    pub(super) fn note_lost(&self, vid: Vid) {
        tracing::info!(%vid, "VDI is no longer attached here");
        self.end_attaching(vid, &Err(Refusal::Fenced));
        self.end_detaching(vid);
    }

    /// See [`sheepdog_attach::door::Door::detach`].
    pub(crate) async fn detach(self: &Rc<Self>, vid: Vid) {
        self.wait_attached(vid).await;
        let is_known = self.gateway.borrow().attached().any(|(attached, _)| attached == vid);
        let unknown = if is_known { None } else { self.generation_here(vid) };
        if !is_known && unknown.is_none() {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        self.waiters.borrow_mut().detaching.entry(vid).or_default().push(sender);
        match unknown {
            Some(generation) => self.let_go(vid, generation), // A4
            None => self.step(|gateway| gateway.drain(vid)),
        }
        let _ = receiver.await;
    }

    /// Under which generation this sheep owns a VDI, by the log.
    fn generation_here(&self, vid: Vid) -> Option<Generation> {
        let state = self.state();
        let owner = state.catalogue.get(vid)?.attachment.as_ref();
        owner.filter(|owner| self.is_mine(owner)).map(|owner| owner.generation)
    }

    /// The gateway has drained: the log may give the VDI to others.
    pub(super) fn let_go(self: &Rc<Self>, vid: Vid, generation: Generation) {
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            let ended = append(&shard.shared, Command::Detach { vid, generation }).await; // A3
            if let Ok((_, index)) = ended {
                shard.wait_applied(index).await;
            }
            shard.step(|gateway| gateway.forget(vid, generation));
            shard.end_detaching(vid);
        });
    }

    fn end_detaching(&self, vid: Vid) {
        let waiting = self.waiters.borrow_mut().detaching.remove(&vid).unwrap_or_default();
        for waiter in waiting {
            let _ = waiter.send(());
        }
    }

    async fn wait_detached(&self, vid: Vid) {
        let (sender, receiver) = oneshot::channel();
        if let Some(list) = self.waiters.borrow_mut().detaching.get_mut(&vid) {
            list.push(sender);
        } else {
            return;
        }
        let _ = receiver.await;
    }

    async fn wait_attached(&self, vid: Vid) {
        let (sender, receiver) = oneshot::channel();
        if let Some(list) = self.waiters.borrow_mut().attaching.get_mut(&vid) {
            list.push(sender);
        } else {
            return;
        }
        let _ = receiver.await;
    }

    /// Lets go of everything; for the end of the sheep.
    pub(super) async fn detach_all(self: &Rc<Self>) {
        let vids: Vec<Vid> = self.gateway.borrow().attached().map(|(vid, _)| vid).collect();
        for vid in vids {
            self.detach(vid).await;
        }
    }
}

#[cfg(test)]
#[path = "attach/tests.rs"]
mod tests;
