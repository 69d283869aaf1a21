//! A sheep in memory: the real cluster state, and volumes that do what `engine::volume` says.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use sheepdog_engine::state::{ClusterState, Outcome};
use sheepdog_engine::volume::{Answer, Extent, Operation, Refusal};
use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::{Buffer, Incarnation, LogIndex, NodeId, Payload, Vid};

use crate::door::{CommandError, Done, Door, Face, Kind, Parcel, Socket};
use crate::legacy::Shard;
use crate::opener::{Openers, Origin};

/// This sheep.
pub(in crate::legacy) const HERE: NodeId = NodeId(0);
/// Another one.
pub(in crate::legacy) const ELSEWHERE: NodeId = NodeId(1);

/// The bytes of one VDI, by object.
#[derive(Debug, Default)]
struct Volume {
    objects: BTreeMap<u32, Vec<u8>>,
}

pub(in crate::legacy) struct Sheep {
    state: RefCell<Arc<ClusterState>>,
    pub(in crate::legacy) openers: Openers,
    volumes: RefCell<BTreeMap<Vid, Volume>>,
    shards: RefCell<Vec<Weak<Shard<MemoryDoor>>>>,
    /// Every operation that was submitted to a volume, in order.
    pub(in crate::legacy) submitted: RefCell<Vec<(Vid, Operation)>>,
    /// Ends of operations are kept back until `let_go`.
    pub(in crate::legacy) holding: Cell<bool>,
    held: RefCell<VecDeque<(Done, Result<Answer, Refusal>)>>,
    pub(in crate::legacy) observed: RefCell<Vec<(Kind, u64, bool)>>,
    pub(in crate::legacy) hand_overs: Cell<usize>,
    /// Answers to every operation from now on.
    pub(in crate::legacy) broken: RefCell<Option<Refusal>>,
}

#[derive(Clone)]
pub(in crate::legacy) struct MemoryDoor {
    sheep: Rc<Sheep>,
    shard: usize,
}

/// A sheep with its shards.
pub(in crate::legacy) struct Herd {
    pub(in crate::legacy) sheep: Rc<Sheep>,
    pub(in crate::legacy) shards: Vec<Rc<Shard<MemoryDoor>>>,
}

/// Runs one test with everything on one thread.
pub(in crate::legacy) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(60);
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async { tokio::time::timeout(limit, test).await.unwrap() }));
}

pub(in crate::legacy) fn vid_of(name: &str) -> Vid {
    Vid::hash_of_name(name.as_bytes())
}

impl Herd {
    /// Three sheep, three copies, objects of 4 MiB.
    pub(in crate::legacy) fn formatted(shards: usize) -> Self {
        let herd = Self::unformatted(shards);
        herd.format();
        herd
    }

    pub(in crate::legacy) fn format(&self) {
        let format = Command::Format {
            cluster: 1,
            time_ns: 1,
            partition_bits: 4,
            object_shift: 22,
            copies: Copies::Exactly(3),
        };
        self.sheep.apply(&format).unwrap();
    }

    pub(in crate::legacy) fn unformatted(shards: usize) -> Self {
        let sheep = Rc::new(Sheep {
            state: RefCell::default(),
            openers: Openers::default(),
            volumes: RefCell::default(),
            shards: RefCell::default(),
            submitted: RefCell::default(),
            holding: Cell::new(false),
            held: RefCell::default(),
            observed: RefCell::default(),
            hand_overs: Cell::new(0),
            broken: RefCell::default(),
        });
        for node in 1..=3 {
            let join = Command::Join {
                uuid: node,
                zone: node as u32,
                weight: 16,
                shards: 1,
                addresses: Addresses::default(),
            };
            sheep.apply(&join).unwrap();
        }
        let door = |shard| MemoryDoor { sheep: sheep.clone(), shard };
        let shards: Vec<_> = (0..shards).map(|shard| Shard::new(door(shard))).collect();
        *sheep.shards.borrow_mut() = shards.iter().map(Rc::downgrade).collect();
        Self { sheep, shards }
    }

    /// A connection served by `shard`; the other end is the client's.
    pub(in crate::legacy) fn connect(&self, shard: usize) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.serve(shard, ours);
        theirs
    }

    pub(in crate::legacy) fn serve(&self, shard: usize, socket: UnixStream) {
        let origin = Origin::Process(std::process::id());
        let number = self.sheep.openers.connect(Face::Legacy, origin);
        let serve = self.shards[shard].clone().serve(Socket::Unix(socket), Vec::new(), number);
        tokio::task::spawn_local(serve);
    }

    pub(in crate::legacy) fn make(&self, name: &str, size: u64) -> Vid {
        let create = Command::CreateVdi {
            name: name.into(),
            size,
            copies: None,
            object_shift: None,
            time_ns: 77_000_000_005,
        };
        match self.sheep.apply(&create) {
            Ok(Outcome::Created(vid)) => vid,
            other => panic!("{other:?}"),
        }
    }

    /// Another sheep has `vid` open.
    pub(in crate::legacy) fn attach_elsewhere(&self, vid: Vid) {
        assert!(self.sheep.attach_for(ELSEWHERE, vid).is_ok());
    }

    /// The owner of `vid`.
    pub(in crate::legacy) fn owner(&self, vid: Vid) -> Option<NodeId> {
        let state = self.sheep.state.borrow().clone();
        state.catalogue.get(vid)?.attachment.as_ref().map(|owner| owner.node)
    }

    /// Bytes of a VDI as they are stored.
    pub(in crate::legacy) fn stored(&self, vid: Vid, offset: u64, len: u32) -> Vec<u8> {
        match self.sheep.execute(vid, &Operation::Read { offset, len }) {
            Ok(Answer::Data(data)) => data.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// An object is discarded behind this shard's back.
    pub(in crate::legacy) fn discard(&self, vid: Vid, offset: u64) {
        let zero = Operation::Zero { offset, len: 1, discard: true };
        self.sheep.execute(vid, &zero).unwrap();
    }

    /// How many objects of a VDI exist.
    pub(in crate::legacy) fn object_count(&self, vid: Vid) -> usize {
        self.sheep.volumes.borrow().get(&vid).map_or(0, |volume| volume.objects.len())
    }
}

impl Sheep {
    pub(in crate::legacy) fn apply(&self, command: &Command) -> Result<Outcome, CommandError> {
        let mut state = ClusterState::clone(&self.state.borrow());
        let index = LogIndex(state.index.0 + 1);
        let outcome = state.apply(index, command);
        *self.state.borrow_mut() = Arc::new(state);
        outcome.map_err(CommandError::Refused)
    }

    fn attach_for(&self, node: NodeId, vid: Vid) -> Result<Outcome, CommandError> {
        // The nodes joined with entries 1, 2 and 3.
        let incarnation = Incarnation(u64::from(node.0) + 1);
        self.apply(&Command::Attach { vid, node, incarnation, time_ns: 9 })
    }

    /// The attachment of `vid` ends without anybody asking.
    pub(in crate::legacy) fn lose(&self, vid: Vid) {
        let state = self.state.borrow().clone();
        if let Some(owner) = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.as_ref()) {
            let _ = self.apply(&Command::Detach { vid, generation: owner.generation });
        }
    }

    /// Ends held operations, the newest first, and holds no more.
    pub(in crate::legacy) fn let_go(&self) {
        self.holding.set(false);
        let held = std::mem::take(&mut *self.held.borrow_mut());
        for (done, end) in held.into_iter().rev() {
            done(end);
        }
    }

    fn execute(&self, vid: Vid, operation: &Operation) -> Result<Answer, Refusal> {
        let state = self.state.borrow().clone();
        let vdi = state.catalogue.get(vid).ok_or(Refusal::NoVdi)?;
        let mut volumes = self.volumes.borrow_mut();
        let volume = volumes.entry(vid).or_default();
        volume.execute(vid, vdi.object_bytes(), vdi.object_count(), operation)
    }
}

impl Volume {
    fn execute(
        &mut self,
        vid: Vid,
        object: u64,
        count: u64,
        operation: &Operation,
    ) -> Result<Answer, Refusal> {
        let check = |offset: u64, len: u64| {
            let inside = offset + len <= object * count;
            if inside { Ok(()) } else { Err(Refusal::Invalid("range")) }
        };
        match operation {
            Operation::Read { offset, len } => {
                check(*offset, u64::from(*len))?;
                let mut data = Buffer::zeroed(*len as usize);
                for (index, inside, outside) in pieces(*offset, data.len(), object) {
                    if let Some(bytes) = self.objects.get(&index) {
                        data[outside].copy_from_slice(&bytes[inside]);
                    }
                }
                Ok(Answer::Data(data.share()))
            }
            Operation::Write { offset, data } => {
                check(*offset, data.len() as u64)?;
                for (index, inside, outside) in pieces(*offset, data.len(), object) {
                    let bytes =
                        self.objects.entry(index).or_insert_with(|| vec![0; object as usize]);
                    bytes[inside].copy_from_slice(&data[outside]);
                }
                Ok(Answer::Done)
            }
            Operation::Zero { offset, len, discard: true } => {
                check(*offset, *len)?;
                assert!(offset.is_multiple_of(object), "only whole objects are discarded");
                self.objects.remove(&((offset / object) as u32));
                Ok(Answer::Done)
            }
            Operation::Flush => Ok(Answer::Done),
            Operation::Status { offset, len } => {
                check(*offset, *len)?;
                let allocated = self.objects.contains_key(&((offset / object) as u32));
                Ok(Answer::Extents(vec![Extent { len: *len, allocated }]))
            }
            Operation::ReadMap { offset, len } => Ok(Answer::Data(self.map(vid, *offset, *len))),
            Operation::WriteMap { offset, data } => self.write_map(vid, offset / 4, data),
            Operation::Zero { .. } => panic!("the legacy face never zeroes"),
        }
    }

    fn map(&self, vid: Vid, offset: u32, len: u32) -> Payload {
        let mut map = Buffer::zeroed(4 << 20);
        for index in self.objects.keys() {
            let at = *index as usize * 4;
            map[at..at + 4].copy_from_slice(&vid.get().to_le_bytes());
        }
        map.share().slice(offset as usize..(offset + len) as usize)
    }

    fn write_map(&mut self, vid: Vid, first: u32, data: &[u8]) -> Result<Answer, Refusal> {
        let (words, rest) = data.as_chunks::<4>();
        assert!(rest.is_empty(), "whole entries only");
        let entries: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        if entries.iter().any(|entry| *entry != 0 && *entry != vid.get()) {
            return Err(Refusal::Invalid("map entry"));
        }
        if entries.iter().all(|entry| *entry == 0) {
            let range = first..first + entries.len() as u32;
            self.objects.retain(|index, _| !range.contains(index));
        }
        Ok(Answer::Done)
    }
}

/// A range cut at object borders: which object, where in it, where in the range.
fn pieces(offset: u64, len: usize, object: u64) -> Vec<(u32, Range<usize>, Range<usize>)> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let start = (at % object) as usize;
        let count = (object as usize - start).min(len - done);
        pieces.push(((at / object) as u32, start..start + count, done..done + count));
        done += count;
    }
    pieces
}

impl Door for MemoryDoor {
    fn state(&self) -> Arc<ClusterState> {
        self.sheep.state.borrow().clone()
    }

    fn shard(&self) -> usize {
        self.shard
    }

    fn shard_of(&self, vid: Vid) -> usize {
        vid.get() as usize % self.sheep.shards.borrow().len()
    }

    fn hand_over(&self, shard: usize, parcel: Parcel) {
        self.sheep.hand_overs.set(self.sheep.hand_overs.get() + 1);
        let target = self.sheep.shards.borrow()[shard].upgrade().unwrap();
        let serve = target.serve(parcel.socket, parcel.unread, parcel.connection);
        tokio::task::spawn_local(serve);
    }

    fn openers(&self) -> &Openers {
        &self.sheep.openers
    }

    async fn command(&self, command: Command) -> Result<Outcome, CommandError> {
        tokio::task::yield_now().await;
        self.sheep.apply(&command)
    }

    async fn attach(&self, vid: Vid) -> Result<(), Refusal> {
        assert_eq!(self.shard_of(vid), self.shard, "attached on its own shard");
        tokio::task::yield_now().await;
        let state = self.state();
        let vdi = state.catalogue.get(vid).ok_or(Refusal::NoVdi)?;
        match &vdi.attachment {
            Some(owner) if owner.node == HERE => Ok(()),
            Some(owner) => Err(Refusal::Locked {
                node: owner.node,
                address: String::new(),
                since_ns: owner.since_ns,
            }),
            None => self.sheep.attach_for(HERE, vid).map(drop).map_err(|_| Refusal::Stopping),
        }
    }

    async fn detach(&self, vid: Vid) {
        assert_eq!(self.shard_of(vid), self.shard, "detached on its own shard");
        while self.sheep.holding.get() {
            tokio::task::yield_now().await; // What was submitted has not ended.
        }
        let state = self.state();
        let owner = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.clone());
        if owner.is_some_and(|owner| owner.node == HERE) {
            self.sheep.lose(vid);
        }
    }

    fn submit(&self, vid: Vid, operation: Operation, done: Done) {
        assert_eq!(self.shard_of(vid), self.shard, "submitted on its own shard");
        let state = self.state();
        let owner = state.catalogue.get(vid).and_then(|vdi| vdi.attachment.as_ref());
        let broken = self.sheep.broken.borrow().clone();
        let end = match broken {
            _ if owner.is_none_or(|owner| owner.node != HERE) => Err(Refusal::Fenced),
            Some(refusal) => Err(refusal),
            None => self.sheep.execute(vid, &operation),
        };
        if end.is_ok() {
            self.sheep.submitted.borrow_mut().push((vid, operation));
        }
        if self.sheep.holding.get() {
            self.sheep.held.borrow_mut().push_back((done, end));
        } else {
            tokio::task::spawn_local(async move { done(end) });
        }
    }

    fn observe(&self, face: Face, kind: Kind, bytes: u64, _: Duration, ok: bool) {
        assert_eq!(face, Face::Legacy);
        self.sheep.observed.borrow_mut().push((kind, bytes, ok));
    }
}
