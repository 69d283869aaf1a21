//! Testing: a door over memory and a real cluster state, for the tests of every face.
//!
//! Way: [`Cluster::new`] is one sheep with some shards; [`Cluster::door`] makes the door of one
//!      shard, on its thread. Operations take effect at once and in order, their ends come from a
//!      task of the thread's `LocalSet`. [`MemoryDoor::hold`] makes the cluster wait,
//!      [`Cluster::refuse_next`] makes it fail.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sheepdog_engine::state::{ClusterState, Outcome, Refused};
use sheepdog_engine::volume::{Answer, Extent, Operation, Refusal};
use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Incarnation, LogIndex, NodeId, Vid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::door::{CommandError, Done, Door, Face, Kind, Parcel};
use crate::opener::Openers;

/// When everything happens, for commands.
pub(crate) const TIME_NS: u64 = 1_700_000_000_000_000_000;
/// Their payloads stay in memory.
const OPERATIONS_KEPT: usize = 128;
const US: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);

/// One sheep over memory, and a second one that only owns things.
pub(crate) struct Cluster {
    openers: Openers,
    inner: Mutex<Inner>,
    mailboxes: Vec<UnboundedSender<Parcel>>,
}

/// What the face told of one finished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) face: Face,
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) ok: bool,
}

#[derive(Default)]
struct Inner {
    state: Arc<ClusterState>,
    /// Objects by VDI and index.
    objects: BTreeMap<(Vid, u64), Vec<u8>>,
    refusals: VecDeque<Refusal>,
    observed: Vec<Observed>,
    operations: VecDeque<Operation>,
    attach_waits: bool,
}

impl Cluster {
    /// A formatted cluster of 4 MiB objects; and for each shard what is handed over to it.
    pub(crate) fn new(shards: usize) -> (Arc<Self>, Vec<UnboundedReceiver<Parcel>>) {
        let (cluster, received) = Self::with(Inner::default(), shards);
        for (uuid, admin) in [(1, "127.0.0.1:7002"), (2, "127.0.0.1:8002")] {
            let admin = admin.to_owned();
            let addresses = Addresses { admin, ..Addresses::default() };
            let (zone, weight) = (uuid as u32, 100);
            let join = Command::Join { uuid, zone, weight, shards: shards as u16, addresses };
            cluster.command(&join).unwrap();
        }
        let (partition_bits, object_shift, copies, time_ns) = (4, 22, Copies::Auto, TIME_NS);
        let format = Command::Format { cluster: 7, time_ns, partition_bits, object_shift, copies };
        cluster.command(&format).unwrap();
        (cluster, received)
    }

    /// The same sheep after a death without good-bye: no client is known, nothing is attached.
    pub(crate) fn reborn(&self) -> (Arc<Self>, Vec<UnboundedReceiver<Parcel>>) {
        let mut inner = std::mem::take(&mut *self.lock());
        let vids: Vec<Vid> = inner.state.catalogue.iter().map(|vdi| vdi.vid).collect();
        let state = Arc::make_mut(&mut inner.state);
        for vid in vids {
            let attachment = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.clone());
            if let Some(attachment) = attachment.filter(|attachment| attachment.node == US) {
                let detach = Command::Detach { vid, generation: attachment.generation };
                state.apply(LogIndex(state.index.0 + 1), &detach).unwrap();
            }
        }
        Self::with(inner, self.mailboxes.len())
    }

    fn with(inner: Inner, shards: usize) -> (Arc<Self>, Vec<UnboundedReceiver<Parcel>>) {
        let (mailboxes, received) = (0..shards).map(|_| unbounded_channel()).unzip();
        let inner = Mutex::new(inner);
        (Arc::new(Self { openers: Openers::default(), inner, mailboxes }), received)
    }

    /// The door of one shard, for the calling thread.
    pub(crate) fn door(self: &Arc<Self>, shard: usize) -> MemoryDoor {
        MemoryDoor { cluster: self.clone(), shard, held: Rc::default() }
    }

    /// Applies a command.
    pub(crate) fn command(&self, command: &Command) -> Result<Outcome, Refused> {
        let mut inner = self.lock();
        let state = Arc::make_mut(&mut inner.state);
        let index = LogIndex(state.index.0 + 1);
        state.apply(index, command)
    }

    /// A new VDI with the cluster's object size, or 2^`shift` bytes.
    pub(crate) fn create(&self, name: &str, size: u64, shift: Option<u8>) -> Vid {
        let (name, time_ns) = (name.to_owned(), TIME_NS);
        let create = Command::CreateVdi { name, size, copies: None, object_shift: shift, time_ns };
        match self.command(&create).unwrap() {
            Outcome::Created(vid) => vid,
            other => panic!("a VDI was to be created: {other:?}"),
        }
    }

    /// The newest state.
    pub(crate) fn state(&self) -> Arc<ClusterState> {
        self.lock().state.clone()
    }

    /// Makes the other sheep the owner of `vid`.
    pub(crate) fn attach_elsewhere(&self, vid: Vid) {
        self.attach_by(OTHER, vid).unwrap();
    }

    /// Whether this sheep owns `vid`.
    pub(crate) fn is_attached(&self, vid: Vid) -> bool {
        let state = self.state();
        let attachment = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.clone());
        attachment.is_some_and(|attachment| attachment.node == US)
    }

    /// Frees `vid`, whoever owns it.
    pub(crate) fn free(&self, vid: Vid) {
        let state = self.state();
        let attachment = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.clone());
        if let Some(attachment) = attachment {
            let generation = attachment.generation;
            self.command(&Command::Detach { vid, generation }).unwrap();
        }
    }

    /// While true, attaching waits.
    pub(crate) fn hold_attach(&self, waits: bool) {
        self.lock().attach_waits = waits;
    }

    /// The next operation is refused; repeat it for several.
    pub(crate) fn refuse_next(&self, refusal: Refusal) {
        self.lock().refusals.push_back(refusal);
    }

    /// What the faces told so far.
    pub(crate) fn observed(&self) -> Vec<Observed> {
        self.lock().observed.clone()
    }

    /// The newest operations carried out, refused ones too.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.lock().operations.iter().cloned().collect()
    }

    /// Objects of `vid` that use space.
    pub(crate) fn allocated(&self, vid: Vid) -> Vec<u64> {
        let inner = self.lock();
        inner.objects.keys().filter(|(of, _)| *of == vid).map(|(_, index)| *index).collect()
    }

    /// The table of openers.
    pub(crate) fn openers(&self) -> &Openers {
        &self.openers
    }

    fn attach_by(&self, node: NodeId, vid: Vid) -> Result<(), Refusal> {
        let incarnation = Incarnation(u64::from(node.0) + 1);
        let attach = Command::Attach { vid, node, incarnation, time_ns: TIME_NS };
        match self.command(&attach) {
            Ok(_) => Ok(()),
            Err(Refused::Locked(holder)) if holder.node == node => Ok(()),
            Err(Refused::Locked(holder)) => {
                let state = self.state();
                let address = state.members.get(holder.node).map(|m| m.addresses.admin.clone());
                let (address, since_ns) = (address.unwrap_or_default(), holder.since_ns);
                Err(Refusal::Locked { node: holder.node, address, since_ns })
            }
            Err(_) => Err(Refusal::NoVdi),
        }
    }

    fn run(&self, vid: Vid, operation: &Operation) -> Result<Answer, Refusal> {
        if !self.is_attached(vid) {
            return Err(Refusal::Fenced);
        }
        let mut inner = self.lock();
        inner.operations.push_back(operation.clone());
        if inner.operations.len() > OPERATIONS_KEPT {
            inner.operations.pop_front();
        }
        if let Some(refusal) = inner.refusals.pop_front() {
            return Err(refusal);
        }
        let vdi = inner.state.catalogue.get(vid).cloned().ok_or(Refusal::NoVdi)?;
        let object_bytes = vdi.object_bytes();
        let check = |offset: u64, len: u64| {
            let end = offset.checked_add(len).filter(|end| *end <= vdi.size);
            end.map(|_| ()).ok_or(Refusal::Invalid("range"))
        };
        match operation {
            Operation::Read { offset, len } => {
                check(*offset, u64::from(*len))?;
                assert!(u64::from(*len) <= 16 * object_bytes, "a read of at most 16 objects");
                let mut bytes = Buffer::zeroed(*len as usize);
                for (index, at, range) in cut(*offset, u64::from(*len), object_bytes) {
                    if let Some(object) = inner.objects.get(&(vid, index)) {
                        let part = &object[at..at + range.len()];
                        bytes[range].copy_from_slice(part);
                    }
                }
                Ok(Answer::Data(bytes.share()))
            }
            Operation::Write { offset, data } => {
                check(*offset, data.len() as u64)?;
                for (index, at, range) in cut(*offset, data.len() as u64, object_bytes) {
                    let object = inner.objects.entry((vid, index));
                    let object = object.or_insert_with(|| vec![0; object_bytes as usize]);
                    object[at..at + range.len()].copy_from_slice(&data[range]);
                }
                Ok(Answer::Done)
            }
            Operation::Zero { offset, len, discard } => {
                check(*offset, *len)?;
                for (index, at, range) in cut(*offset, *len, object_bytes) {
                    let whole = range.len() as u64 == object_bytes;
                    if whole {
                        inner.objects.remove(&(vid, index));
                    } else if let Some(object) = inner.objects.get_mut(&(vid, index)) {
                        let (from, to) = (at, at + range.len());
                        let block = BLOCK_BYTES;
                        let (from, to) = match discard {
                            true => (from.next_multiple_of(block), to / block * block),
                            false => (from, to),
                        };
                        object[from.min(to)..to].fill(0);
                    }
                }
                Ok(Answer::Done)
            }
            Operation::Flush => Ok(Answer::Done),
            Operation::Status { offset, len } => {
                check(*offset, *len)?;
                let extent = |(index, _, range): (u64, usize, std::ops::Range<usize>)| Extent {
                    len: range.len() as u64,
                    allocated: inner.objects.contains_key(&(vid, index)),
                };
                Ok(Answer::Extents(cut(*offset, *len, object_bytes).map(extent).collect()))
            }
            Operation::ReadMap { offset, len } => {
                let entry = |index: u64| match inner.objects.contains_key(&(vid, index)) {
                    true => vid.get().to_le_bytes(),
                    false => [0; 4],
                };
                let first = u64::from(*offset / 4);
                let last = u64::from(*offset + *len).div_ceil(4);
                let map: Vec<u8> = (first..last).flat_map(entry).collect();
                let skip = (*offset % 4) as usize;
                Ok(Answer::Data(map[skip..skip + *len as usize].into()))
            }
            Operation::WriteMap { offset, data } => {
                let zero = data.iter().all(|byte| *byte == 0);
                for (index, entry) in data.chunks_exact(4).enumerate() {
                    let index = u64::from(*offset / 4) + index as u64;
                    if zero {
                        inner.objects.remove(&(vid, index));
                    } else if entry != [0; 4] && entry != vid.get().to_le_bytes() {
                        return Err(Refusal::Invalid("another vid"));
                    }
                }
                Ok(Answer::Done)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// Pieces of a range: object, first byte inside the object, bytes of the range.
fn cut(
    offset: u64,
    len: u64,
    object_bytes: u64,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let take = (len - done).min(object_bytes - at % object_bytes);
        let range = done as usize..(done + take) as usize;
        done += take;
        (take > 0).then_some((at / object_bytes, (at % object_bytes) as usize, range))
    })
}

type Held = Rc<RefCell<Option<VecDeque<(Vid, Operation, Done)>>>>;

/// The door of one shard, on one thread.
#[derive(Clone)]
pub(crate) struct MemoryDoor {
    cluster: Arc<Cluster>,
    shard: usize,
    held: Held,
}

impl MemoryDoor {
    /// From now on operations wait.
    pub(crate) fn hold(&self) {
        self.held.borrow_mut().get_or_insert_default();
    }

    /// How many wait.
    pub(crate) fn held(&self) -> usize {
        self.held.borrow().as_ref().map_or(0, VecDeque::len)
    }

    /// Carries out all that waited, in order.
    pub(crate) fn let_go(&self) {
        for (vid, operation, done) in self.held.take().unwrap_or_default() {
            self.submit(vid, operation, done);
        }
    }
}

impl Door for MemoryDoor {
    fn state(&self) -> Arc<ClusterState> {
        self.cluster.state()
    }

    fn shard(&self) -> usize {
        self.shard
    }

    fn shard_of(&self, vid: Vid) -> usize {
        vid.get() as usize % self.cluster.mailboxes.len()
    }

    fn hand_over(&self, shard: usize, parcel: Parcel) {
        self.cluster.mailboxes[shard].send(parcel).unwrap();
    }

    fn openers(&self) -> &Openers {
        &self.cluster.openers
    }

    fn command(&self, command: Command) -> impl Future<Output = Result<Outcome, CommandError>> {
        let end = self.cluster.command(&command).map_err(CommandError::Refused);
        async move {
            tokio::task::yield_now().await;
            end
        }
    }

    async fn attach(&self, vid: Vid) -> Result<(), Refusal> {
        assert_eq!(self.shard_of(vid), self.shard, "attach on the shard of the VDI");
        tokio::task::yield_now().await;
        while self.cluster.lock().attach_waits {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.cluster.attach_by(US, vid)
    }

    async fn detach(&self, vid: Vid) {
        tokio::task::yield_now().await;
        if self.cluster.is_attached(vid) {
            self.cluster.free(vid);
        }
    }

    fn submit(&self, vid: Vid, operation: Operation, done: Done) {
        assert_eq!(self.shard_of(vid), self.shard, "submit on the shard of the VDI");
        if let Some(held) = self.held.borrow_mut().as_mut() {
            held.push_back((vid, operation, done));
            return;
        }
        let end = self.cluster.run(vid, &operation);
        tokio::task::spawn_local(async move { done(end) });
    }

    fn observe(&self, face: Face, kind: Kind, bytes: u64, _took: Duration, ok: bool) {
        self.cluster.lock().observed.push(Observed { face, kind, bytes, ok });
    }
}
