//! The control plane: follows the coordination log and is the only one that writes to it.
//!
//! Way: entries -> `ClusterState::apply` -> every shard gets the new state; proposals of shards and
//!      of the admin API are appended, and answered when their entry has been applied here.
//! Holds:
//!   LOG-ORDER  a state is passed on only after every entry before it;
//!   C1         a proposal is answered with what its own entry did.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use sheepdog_attach::door::CommandError;
use sheepdog_cluster::{CoordinationLog, Entry, Event, Events, LogError};
use sheepdog_engine::absence::Absences;
use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::{ClusterState, Group, Outcome, Refused};
use sheepdog_proto::command::Command;
use sheepdog_proto::{LogIndex, Vid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::disks::Disks;
use crate::pace::Pace;
use crate::shard::mail::Mail;
use crate::shared::{CommandResult, DiskEvent, Inbox, Proposal, Shared};
use crate::silence::Silences;

/// Outcomes kept for proposals whose index is not known yet.
const OUTCOMES_MAX: usize = 4096;
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// A VDI none of whose clients has had a connection for this long is let go.
const IDLE_GRACE: Duration = Duration::from_secs(10);

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The newest state, for whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    receiver: watch::Receiver<Arc<ClusterState>>,
}

impl Watch {
    pub(crate) fn state(&self) -> Arc<ClusterState> {
        self.receiver.borrow().clone()
    }

    /// Ends when the cluster was told to stop.
    pub(crate) async fn stopping(&mut self) {
        if self.receiver.wait_for(|state| state.stopping).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Follows the log.
pub(crate) struct Control {
    log: Box<dyn CoordinationLog>,
    events: Events,
    disks: Disks,
    state: ClusterState,
    sender: watch::Sender<Arc<ClusterState>>,
    outcomes: BTreeMap<LogIndex, Result<Outcome, Refused>>,
    waiting: BTreeMap<LogIndex, oneshot::Sender<CommandResult>>,
    silences: Silences,
    absences: Absences,
    pace: Pace,
    /// Seconds that a sheep may be away before its copies are made elsewhere; zero for ever.
    out_after: u64,
    /// Ticks are counted, so they go on evenly when `run` is left and entered again.
    idle: Interval,
    /// Answers of the log on their way back to `run`, which may be left and entered again.
    appended: mpsc::UnboundedSender<Appended>,
    indexes: mpsc::UnboundedReceiver<Appended>,
}

impl Control {
    /// Takes over a freshly opened log.
    pub(crate) fn new(
        log: Box<dyn CoordinationLog>,
        events: Events,
        disks: Disks,
        out_after: u64,
    ) -> Self {
        let state = ClusterState::default();
        let sender = watch::Sender::new(Arc::new(state.clone()));
        let (outcomes, waiting) = (BTreeMap::new(), BTreeMap::new());
        let (appended, indexes) = mpsc::unbounded_channel();
        let (silences, absences) = (Silences::default(), Absences::default());
        let mut idle = tokio::time::interval(IDLE_CHECK);
        // Whoever stood still must hear what happened before it says who was away meanwhile.
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            log,
            events,
            disks,
            state,
            sender,
            outcomes,
            waiting,
            silences,
            absences,
            pace: Pace::default(),
            out_after,
            idle,
            appended,
            indexes,
        }
    }

    pub(crate) const fn state(&self) -> &ClusterState {
        &self.state
    }

    pub(crate) const fn disks(&self) -> &Disks {
        &self.disks
    }

    /// A directory that belongs to one cluster must not join another.
    pub(crate) fn check_cluster(&mut self) -> Result<()> {
        let formatted = self.state.format.as_ref().and_then(|f| NonZero::new(f.cluster));
        match (formatted, self.disks.home().cluster_id()) {
            (Some(cluster), _) => Ok(self.disks.home_mut().set_cluster_id(cluster)?),
            (None, Some(mine)) => bail!(
                "this directory belongs to cluster {mine:032x}, but the coordination log is that \
                 of a cluster without a format; give the right -c, or an empty directory"
            ),
            (None, None) => Ok(()),
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch { receiver: self.sender.subscribe() }
    }

    pub(crate) fn log(&self) -> &dyn CoordinationLog {
        self.log.as_ref()
    }

    /// Applies everything that is in the log now.
    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        loop {
            match self.events.next().await {
                Some(Event::Connected { last }) => {
                    while self.state.index < last {
                        match self.events.next().await {
                            Some(Event::Entry(entry)) => self.apply(&entry)?,
                            Some(Event::Connected { .. } | Event::Disconnected) => {}
                            Some(Event::Failed(error)) => return Err(error.into()),
                            None => bail!("the coordination log has ended"),
                        }
                    }
                    self.sender.send_replace(Arc::new(self.state.clone()));
                    return Ok(());
                }
                Some(Event::Entry(entry)) => self.apply(&entry)?,
                Some(Event::Disconnected) => {}
                Some(Event::Failed(error)) => return Err(error.into()),
                None => bail!("the coordination log has ended"),
            }
        }
    }

    /// Appends a command before the shards run, and applies the log up to it.
    pub(crate) async fn append_now(&mut self, command: &Command) -> Result<Outcome> {
        let mut answer = self.log.append(command.encode());
        let index = loop {
            tokio::select! {
                index = &mut answer => break index?,
                event = self.events.next() => self.take_early(event)?,
            }
        };
        while self.state.index < index {
            let event = self.events.next().await;
            self.take_early(event)?;
        }
        self.sender.send_replace(Arc::new(self.state.clone()));
        self.outcomes.remove(&index).context("an entry without an outcome")?.map_err(Into::into)
    }

    /// Follows the log until something else has ended.
    pub(crate) async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                ended = &mut what => return Ok(ended),
                event = self.events.next() => self.take_early(event)?,
            }
        }
    }

    /// Before anything is served: what is on disks that cannot be used is not served by this sheep.
    pub(crate) async fn leave_lost_groups(&mut self, me: Me) -> Result<()> {
        if let Some(command) = self.disks.demotion(&self.state, me) {
            self.append_now(&command).await?;
        }
        self.disks.remap(&self.state, me)?;
        Ok(())
    }

    fn take_early(&mut self, event: Option<Event>) -> Result<()> {
        match event {
            Some(Event::Entry(entry)) => self.apply(&entry),
            Some(Event::Connected { .. } | Event::Disconnected) => Ok(()),
            Some(Event::Failed(error)) => Err(error.into()),
            None => bail!("the coordination log has ended"),
        }
    }

    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let command = Command::decode(&entry.payload).with_context(|| {
            format!(
                "entry {} of the coordination log; if another sheep is newer, update this one",
                entry.index
            )
        })?;
        tracing::debug!(index = entry.index.0, ?command, "log");
        let outcome = self.state.apply(entry.index, &command);
        self.outcomes.insert(entry.index, outcome);
        if self.outcomes.len() > OUTCOMES_MAX {
            self.outcomes.pop_first();
        }
        Ok(())
    }

    /// Serves proposals and follows the log until the shards and the admin API have ended.
    pub(crate) async fn run(&mut self, shared: &Arc<Shared>, inbox: &mut Inbox) -> Result<()> {
        let mut unused = BTreeMap::new();
        loop {
            tokio::select! {
                event = self.events.next() => self.follow(shared, event)?,
                Some(proposal) = inbox.proposals.recv() => self.propose(proposal),
                Some(silence) = inbox.silences.recv() => {
                    self.silences.note(silence);
                    self.tend_silences(shared);
                }
                Some(event) = inbox.disks.recv() => self.take_disk_event(shared, event)?,
                Some((result, reply)) = self.indexes.recv() => self.note_index(result, reply),
                _ = self.idle.tick() => {
                    self.release_idle(shared, &mut unused);
                    self.tend_silences(shared);
                    self.tend_absences(shared);
                    self.note_pace(shared);
                    self.tend_rests(shared);
                    self.tend_disks(shared)?;
                }
            }
        }
    }

    fn follow(&mut self, shared: &Arc<Shared>, event: Option<Event>) -> Result<()> {
        match event {
            Some(Event::Entry(entry)) => {
                self.apply(&entry)?;
                self.check_cluster()?;
                let state = Arc::new(self.state.clone());
                self.sender.send_replace(state.clone());
                for shard in 0..shared.shards.len() {
                    shared.mail(shard, Mail::State(state.clone()));
                }
                // Only now: a connection that is handed over on the strength of the answer must
                // find the state when it arrives.
                if let Some(reply) = self.waiting.remove(&entry.index)
                    && let Some(outcome) = self.outcomes.remove(&entry.index)
                {
                    answer(reply, outcome, entry.index);
                }
                self.check_alive(shared)?;
                self.tend_disks(shared)
            }
            Some(Event::Connected { last }) => {
                tracing::info!(last = last.0, "coordination log reached");
                Ok(())
            }
            Some(Event::Disconnected) => {
                tracing::warn!("coordination log not reachable; changes wait");
                Ok(())
            }
            Some(Event::Failed(error)) => Err(error.into()),
            None => bail!("the coordination log has ended"),
        }
    }

    /// A sheep that the log holds for gone must not serve on.
    fn check_alive(&self, shared: &Shared) -> Result<()> {
        let me = self.state.members.get(shared.me.node);
        if me.is_some_and(|m| m.up && m.incarnation == shared.me.incarnation) {
            return Ok(());
        }
        Err(HeldForGone.into())
    }

    fn take_disk_event(&mut self, shared: &Arc<Shared>, event: DiskEvent) -> Result<()> {
        self.disks.take(event, shared)?;
        self.tend_disks(shared)
    }

    /// What the disks and the newest state make necessary.
    fn tend_disks(&mut self, shared: &Arc<Shared>) -> Result<()> {
        if let Some(command) = self.disks.due_demotion(&self.state, shared.me) {
            tracing::warn!(?command, "a disk of this sheep cannot be used");
            // Whether it came into the log, the state tells.
            self.propose(Proposal { command, reply: oneshot::channel().0 });
        }
        self.disks.follow(&self.state, shared)
    }

    /// Whom this sheep does not hear is said in the log, as long as it reaches that itself.
    fn tend_silences(&mut self, shared: &Shared) {
        if !shared.lease.lasts() {
            return;
        }
        for command in self.silences.due(&self.state, shared.me) {
            tracing::warn!(?command, "links to other sheep");
            self.propose(Proposal { command, reply: oneshot::channel().0 });
        }
    }

    /// Who stays away is said in the log, once a second.
    fn tend_absences(&mut self, shared: &Shared) {
        if !shared.lease.lasts() {
            return;
        }
        for command in self.absences.tick(&self.state, shared.me, self.out_after) {
            tracing::warn!(?command, "a sheep stays away; its copies are made elsewhere");
            self.propose(Proposal { command, reply: oneshot::channel().0 });
        }
    }

    /// A disk that holds up everybody takes no part for a while.
    fn tend_rests(&mut self, shared: &Shared) {
        let (rests, commands) = self.disks.tend_rests(&self.state, shared.me);
        shared.a_disk_rests.store(rests, Relaxed);
        if !shared.lease.lasts() {
            return;
        }
        for command in commands {
            tracing::warn!(?command, "copies on a slow disk");
            self.propose(Proposal { command, reply: oneshot::channel().0 });
        }
    }

    fn note_pace(&mut self, shared: &Shared) {
        let me = shared.me.node;
        let is_missing = |group: &Group| group.lacks(me) || group.joined(me).is_some();
        let left = self.state.groups().filter(|(_, group)| is_missing(group)).count() as u64;
        let done = crate::metrics::joining(&shared.metrics).groups_done;
        shared.forecast.set(self.pace.note(Instant::now(), done, left));
    }

    fn propose(&self, proposal: Proposal) {
        let answer = self.log.append(proposal.command.encode());
        let appended = self.appended.clone();
        tokio::spawn(async move {
            let _ = appended.send((answer.await, proposal.reply));
        });
    }

    fn note_index(
        &mut self,
        result: Result<LogIndex, LogError>,
        reply: oneshot::Sender<CommandResult>,
    ) {
        match result {
            Ok(index) => match self.outcomes.remove(&index) {
                Some(outcome) => answer(reply, outcome, index),
                None => {
                    self.waiting.insert(index, reply); // C1
                }
            },
            Err(error) => {
                tracing::warn!(%error, "coordination log");
                let _ = reply.send(Err(CommandError::Unavailable));
            }
        }
    }

    /// Lets go of VDIs whose clients are gone, and of those that never had one.
    fn release_idle(&self, shared: &Shared, unused: &mut BTreeMap<Vid, Instant>) {
        let now = Instant::now();
        for vid in shared.openers.take_idle(now, IDLE_GRACE) {
            tracing::info!(%vid, "no client for a while; VDI released");
            shared.mail(shared.shard_of(vid), Mail::Detach(vid));
        }
        let mine = self.state.catalogue.iter().filter(|vdi| {
            vdi.attachment.as_ref().is_some_and(|owner| owner.node == shared.me.node)
        });
        let idle: Vec<Vid> =
            mine.map(|vdi| vdi.vid).filter(|vid| !shared.openers.is_known(*vid)).collect();
        unused.retain(|vid, _| idle.contains(vid));
        for vid in idle {
            let since = *unused.entry(vid).or_insert(now);
            if now.saturating_duration_since(since) >= IDLE_GRACE {
                shared.mail(shared.shard_of(vid), Mail::Detach(vid));
            }
        }
    }

    /// Says good-bye: the others need not wait for anything of this sheep.
    pub(crate) async fn leave(self, shared: &Shared) {
        let me = shared.me;
        let gone = Command::Gone { node: me.node, incarnation: me.incarnation };
        if let Err(error) = self.log.append(gone.encode()).await {
            tracing::warn!(%error, "could not tell the others; they will notice");
        }
        if let Err(error) = self.log.close().await {
            tracing::warn!(%error, "coordination log");
        }
    }
}

/// The others go on without this life of the sheep.
#[derive(Debug)]
pub(crate) struct HeldForGone;

impl std::fmt::Display for HeldForGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the others hold this sheep for gone, because they did not hear of it")
    }
}

impl std::error::Error for HeldForGone {}

type Appended = (Result<LogIndex, LogError>, oneshot::Sender<CommandResult>);

fn answer(
    reply: oneshot::Sender<CommandResult>,
    outcome: Result<Outcome, Refused>,
    index: LogIndex,
) {
    let result = outcome.map(|outcome| (outcome, index)).map_err(CommandError::Refused);
    // Whoever asked may have gone.
    let _ = reply.send(result);
}
