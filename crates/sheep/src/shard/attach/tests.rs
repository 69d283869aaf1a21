use std::sync::Arc;

use sheepdog_attach::opener::Openers;
use sheepdog_cluster::Lease;
use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::command::{Addresses, Copies};
use sheepdog_proto::{Incarnation, LogIndex, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::metrics::ShardMetrics;
use crate::shard::stores::Stores;
use crate::shared::{Proposal, Shared};

const LONG: Duration = Duration::from_secs(20);

/// One sheep, which owns the VDI.
fn cluster() -> (ClusterState, Vid) {
    let mut state = ClusterState::default();
    let mut apply = |command: Command| {
        state.apply(LogIndex(state.index.0 + 1), &command).unwrap();
        state.clone()
    };
    let (uuid, zone, weight, shards) = (1, 1, 16, 1);
    apply(Command::Join { uuid, zone, weight, shards, addresses: Addresses::default() });
    let (cluster, time_ns, partition_bits, object_shift) = (1, 0, 0, 20);
    let copies = Copies::Auto;
    apply(Command::Format { cluster, time_ns, partition_bits, object_shift, copies });
    let (name, size) = ("a".to_owned(), 1 << 20);
    let (copies, object_shift) = (None, None);
    let made = apply(Command::CreateVdi { name, size, copies, object_shift, time_ns });
    let vid = made.catalogue.iter().next().unwrap().vid;
    let (node, incarnation) = (NodeId(0), Incarnation(1));
    (apply(Command::Attach { vid, node, incarnation, time_ns }), vid)
}

fn shard(state: &ClusterState) -> (Rc<Shard>, mpsc::UnboundedReceiver<Proposal>) {
    let (proposals, proposed) = mpsc::unbounded_channel();
    let (disks, mail) = (mpsc::unbounded_channel().0, mpsc::unbounded_channel().0);
    let me = Me { node: NodeId(0), incarnation: Incarnation(1) };
    let metrics = vec![Arc::new(ShardMetrics::default())];
    let shards = vec![mail];
    let openers = Openers::default();
    let (silences, lease) = (mpsc::unbounded_channel().0, Lease::default());
    let shared = Shared {
        me,
        uuid: 1,
        scrub_rate: 0,
        scrub_rest: Duration::from_secs(60),
        lease,
        silences,
        openers,
        forecast: Default::default(),
        a_disk_rests: Default::default(),
        shards,
        metrics,
        proposals,
        disks,
    };
    let stores = Stores::new(BTreeMap::new(), [0; sheepdog_store::BUCKETS]);
    (Rc::new(Shard::new(Arc::new(shared), 0, Arc::new(state.clone()), stores)), proposed)
}

#[tokio::test]
async fn a_vdi_whose_detachment_the_log_does_not_take_is_not_forgotten() {
    let local = tokio::task::LocalSet::new();
    local.run_until(check_not_forgotten()).await;
}

async fn check_not_forgotten() {
    let (state, vid) = cluster();
    let (shard, mut proposed) = shard(&state);
    let owner = state.catalogue.get(vid).unwrap().attachment.clone().unwrap();
    shard.step(|gateway| gateway.handle_granted(vid, &owner));
    let detaching = shard.clone();
    let ended = tokio::task::spawn_local(async move { detaching.detach(vid).await });
    let is_attached = || shard.gateway.borrow().attached().any(|(attached, _)| attached == vid);
    for _ in 0..2 {
        let proposal = timeout(LONG, proposed.recv()).await.unwrap().unwrap();
        assert_eq!(proposal.command, Command::Detach { vid, generation: owner.generation });
        assert!(is_attached() && !ended.is_finished()); // A3
        proposal.reply.send(Err(CommandError::Unavailable)).unwrap();
    }
    let proposal = timeout(LONG, proposed.recv()).await.unwrap().unwrap();
    proposal.reply.send(Ok((Outcome::Done, state.index))).unwrap();
    timeout(LONG, ended).await.unwrap().unwrap();
    assert!(!is_attached());
}

#[tokio::test]
async fn a_vdi_that_the_log_gave_unasked_is_let_go() {
    let local = tokio::task::LocalSet::new();
    local.run_until(check_unasked()).await;
}

/// A4.
async fn check_unasked() {
    let (state, vid) = cluster();
    let (shard, mut proposed) = shard(&state);
    let owner = state.catalogue.get(vid).unwrap().attachment.clone().unwrap();
    let detaching = shard.clone();
    let ended = tokio::task::spawn_local(async move { detaching.detach(vid).await });
    let proposal = timeout(LONG, proposed.recv()).await.unwrap().unwrap();
    assert_eq!(proposal.command, Command::Detach { vid, generation: owner.generation });
    // Whoever wants it meanwhile waits (A2).
    let attaching = shard.clone();
    let wanted = tokio::task::spawn_local(async move { attaching.attach(vid).await });
    tokio::task::yield_now().await;
    assert!(proposed.try_recv().is_err() && !wanted.is_finished() && !ended.is_finished());
    proposal.reply.send(Ok((Outcome::Done, state.index))).unwrap();
    timeout(LONG, ended).await.unwrap().unwrap();
    wanted.abort();
}
