//! A herd with one VDI, for scenarios that are told step by step.

use std::collections::BTreeMap;

use sheepdog_proto::command::{Command, Copies};
use sheepdog_proto::peer::{Request, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Generation, NodeId, ObjectKind, Oid, Payload, Stamp, Vid};

use super::super::Place;
use super::herd::{Event, Herd};
use crate::volume::{Answer, Operation, Refusal};

pub(super) const A: NodeId = NodeId(0);
pub(super) const B: NodeId = NodeId(1);
pub(super) const C: NodeId = NodeId(2);

const BLOCK: u64 = BLOCK_BYTES as u64;

pub(super) struct Stage {
    pub(super) herd: Herd,
    pub(super) vid: Vid,
    last: u64,
    answers: BTreeMap<u64, Result<Answer, Refusal>>,
    pub(super) events: Vec<Event>,
}

impl Stage {
    /// `count` sheep of one shard, one group for each of 2^`bits` partitions, a VDI of 16 objects.
    pub(super) fn new(count: u16, bits: u8) -> Self {
        let mut herd = Herd::new(1, count, 1, Copies::Auto, bits);
        let vid = herd.create("vdi", 16);
        let mut stage = Self { herd, vid, last: 0, answers: BTreeMap::new(), events: Vec::new() };
        stage.settle();
        stage
    }

    /// Three sheep, one group, attached through A and live.
    pub(super) fn attached() -> Self {
        let mut stage = Self::new(3, 0);
        stage.attach(A);
        assert!(stage.is_live(A));
        stage
    }

    /// As [`Stage::attached`], and block 0 of object 0 holds 1.
    pub(super) fn written() -> Self {
        let mut stage = Self::attached();
        let first = stage.write(A, 0, 1);
        stage.rest();
        assert_eq!(stage.answer(first), Some(Ok(Answer::Done)));
        stage
    }

    /// The log gives the VDI to `node`, and everything that follows happens.
    pub(super) fn attach(&mut self, node: NodeId) {
        let command = self.herd.attach_command(self.vid, node).expect("alive");
        assert!(self.herd.append(command).is_some(), "the VDI is attached already");
        self.settle();
    }

    /// Drained, detached, forgotten.
    pub(super) fn detach(&mut self, node: NodeId) {
        let place = self.place(node);
        self.herd.drain(place, self.vid);
        self.settle();
        let vid = self.vid;
        let drained = |event: &Event| match event {
            Event::Drained(of, generation) if *of == vid => Some(*generation),
            _ => None,
        };
        let generation = self.events.iter().rev().find_map(drained).expect("drained");
        self.herd.append(Command::Detach { vid, generation });
        self.settle();
    }

    pub(super) fn place(&self, node: NodeId) -> Place {
        self.herd.door(self.vid, node)
    }

    /// Fills a block with a byte. Blocks are counted from the start of the VDI.
    pub(super) fn write(&mut self, node: NodeId, block: u64, fill: u8) -> u64 {
        let data = Payload::from(&[fill; BLOCK_BYTES][..]);
        self.submit(node, Operation::Write { offset: block * BLOCK, data })
    }

    /// Fills 512 bytes in the middle of a block.
    pub(super) fn write_part(&mut self, node: NodeId, block: u64, fill: u8) -> u64 {
        let data = Payload::from(&[fill; 512][..]);
        self.submit(node, Operation::Write { offset: block * BLOCK + 1024, data })
    }

    pub(super) fn read(&mut self, node: NodeId, block: u64) -> u64 {
        self.submit(node, Operation::Read { offset: block * BLOCK, len: BLOCK_BYTES as u32 })
    }

    pub(super) fn discard(&mut self, node: NodeId, object: u64) -> u64 {
        let (offset, len, discard) = (object << 20, 1 << 20, true);
        self.submit(node, Operation::Zero { offset, len, discard })
    }

    pub(super) fn submit(&mut self, node: NodeId, operation: Operation) -> u64 {
        self.last += 1;
        let place = self.place(node);
        self.herd.submit(place, self.vid, operation, self.last);
        self.look();
        self.last
    }

    pub(super) fn settle(&mut self) {
        self.herd.settle();
        self.look();
    }

    /// Settles with ticks.
    pub(super) fn rest(&mut self) {
        self.herd.rest();
        self.look();
    }

    pub(super) fn look(&mut self) {
        while let Some(event) = self.herd.events.pop_front() {
            match event {
                Event::Answer(token, result) => {
                    assert!(self.answers.insert(token, result).is_none(), "answered twice");
                }
                other => self.events.push(other),
            }
        }
    }

    pub(super) fn answer(&self, token: u64) -> Option<Result<Answer, Refusal>> {
        self.answers.get(&token).cloned()
    }

    pub(super) fn is_done(&self, token: u64) -> bool {
        self.answer(token) == Some(Ok(Answer::Done))
    }

    /// First byte and byte 1024 of what was read, `None` if there is no answer.
    pub(super) fn bytes(&self, token: u64) -> Option<(u8, u8)> {
        match self.answer(token)? {
            Ok(Answer::Data(data)) => Some((data[0], data[1024])),
            other => panic!("{other:?}"),
        }
    }

    /// Reads the first byte of a block and of nothing else, after everything has settled.
    pub(super) fn see(&mut self, node: NodeId, block: u64) -> Option<u8> {
        let token = self.read(node, block);
        self.settle();
        self.bytes(token).map(|bytes| bytes.0)
    }

    pub(super) fn is_live(&mut self, node: NodeId) -> bool {
        let (place, vid) = (self.place(node), self.vid);
        self.herd.unit(place).is_some_and(|unit| unit.gateway.is_live(vid))
    }

    /// Requests for which this is true do not arrive.
    pub(super) fn stop(&mut self, stops: impl Fn(NodeId, &Request) -> bool + 'static) {
        self.herd.stopped = Some(Box::new(move |place, request| stops(place.node, request)));
    }

    pub(super) fn go(&mut self) {
        self.herd.stopped = None;
        self.settle();
    }

    /// The process dies and the log learns of it.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.herd.kill(node);
        self.herd.gone(node);
        self.settle();
    }

    pub(super) fn restart(&mut self, node: NodeId) {
        self.herd.start(node);
        self.settle();
    }

    pub(super) fn in_sync(&self) -> Vec<NodeId> {
        let group = self.herd.newest().group_of(Oid::map(self.vid, 0));
        let mut nodes = group.map(|(_, group)| group.in_sync.clone()).expect("the VDI exists");
        nodes.sort_unstable();
        nodes
    }

    /// Stamp and first byte of a block on a member; a hole is byte zero.
    pub(super) fn kept(&mut self, node: NodeId, block: u64) -> Option<(Stamp, u8)> {
        let oid = Oid::data(self.vid, (block / 256) as u32);
        let kept = self.herd.store_of(node, oid).block(oid, (block % 256) as u32);
        kept.map(|(stamp, bytes)| (stamp, bytes.map_or(0, |bytes| bytes[0])))
    }

    /// Copies are equal, lists and gateways are empty.
    pub(super) fn check_rest(&mut self) {
        self.rest();
        self.herd.check_converged(self.vid).expect("G11");
        self.herd.check_idle().expect("nothing is left over");
    }

    pub(super) fn listed(&mut self, node: NodeId) -> usize {
        let vid = self.vid;
        let stores = &self.herd.sheep[usize::from(node.0)].stores;
        stores.iter().map(|store| store.list(vid).len()).sum()
    }
}

pub(super) fn stamp(generation: u32, sequence: u64) -> Stamp {
    Stamp::new(Generation(generation), sequence)
}

/// A change of a data object.
pub(super) fn changes_data(request: &Request) -> bool {
    changes(request, ObjectKind::Data)
}

/// A change of the map.
pub(super) fn changes_map(request: &Request) -> bool {
    changes(request, ObjectKind::Map)
}

/// A change of an object of this kind.
pub(super) fn changes(request: &Request, kind: ObjectKind) -> bool {
    let is_change = !matches!(request.body, RequestBody::Read { .. });
    is_change && request.body.oid().is_some_and(|oid| oid.kind() == kind)
}
