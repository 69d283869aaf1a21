//! What a client does while things break.

use sheepdog_engine::volume::Operation;
use sheepdog_proto::BLOCK_BYTES;
use sheepdog_proto::command::Command;

use super::super::check::history::{SECTOR, tagged};
use super::super::control::Proposed;
use super::super::event::Caller;
use super::super::world::World;
use super::{Pending, Shape};

const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES as u64 / SECTOR;
const SECTORS_PER_OBJECT: u64 = (1 << 20) / SECTOR;
/// Blocks of each object that are used.
const HOT: [u64; 5] = [0, 255, 1, 2, 64];

impl World {
    pub(super) fn work(&mut self, client: usize) {
        self.take_growth(client);
        let is_full = self.clients[client].pending.len() >= self.clients[client].depth;
        if self.random.chance(4) {
            self.detach_client(client);
        } else if self.random.chance(3) {
            self.resize(client);
        } else if !is_full {
            let pending = self.choose(client);
            let known = &self.clients[client];
            let touches = |other: &Pending| {
                pending.objects.start() <= other.objects.end()
                    && other.objects.start() <= pending.objects.end()
            };
            if !known.sends_again || !known.pending.values().any(touches) {
                self.submit_operation(client, pending); // V2
            }
        }
    }

    /// The VDI is larger where it is served.
    fn take_growth(&mut self, client: usize) {
        let known = &self.clients[client];
        let (Some((index, objects)), Some(session)) = (known.grows, known.session) else { return };
        if self.shard(session.place).is_some_and(|shard| shard.applied >= index) {
            let known = &mut self.clients[client];
            (known.objects, known.grows) = (objects, None);
        }
    }

    fn resize(&mut self, client: usize) {
        let known = &self.clients[client];
        let (Some(vid), objects) = (known.vid, known.objects) else { return };
        if objects < 5 {
            let size = (objects + 1) << 20;
            let caller = Caller { client, session: 0 }; // it goes on meanwhile
            let command = Command::ResizeVdi { vid, size };
            self.propose(0, 0, command, Proposed::Operator(caller));
        }
    }

    fn choose(&mut self, client: usize) -> Pending {
        let known = &self.clients[client];
        let (objects, hot, next) = (known.objects, known.hot, known.number + 1);
        let is_idle = known.pending.is_empty();
        let random = &mut self.random;
        let object = random.below(objects);
        let block = HOT[random.below(hot) as usize];
        let first = object * SECTORS_PER_OBJECT + block * SECTORS_PER_BLOCK;
        let (first, count) = match random.below(20) {
            0..9 => (first, SECTORS_PER_BLOCK * random.between(1, 4)),
            9..18 => (first + random.below(8), random.between(1, 21)),
            _ => (first, SECTORS_PER_BLOCK * random.between(16, 40)), // beside the log
        };
        let count = count.min(objects * SECTORS_PER_OBJECT - first);
        let discards = random.chance(self.profile.discards);
        let tag = (client as u64 + 1) << 56 | next << 16;
        match if discards { 99 } else { random.below(98) } {
            0..50 => {
                let tags: Vec<u64> = (tag..).take(count as usize).collect();
                let operation = Operation::Write { offset: first * SECTOR, data: tagged(&tags) };
                pending(operation, Shape::Write(first, tags), first, count)
            }
            50..86 => {
                let (offset, len) = (first * SECTOR, (count * SECTOR) as u32);
                let operation = Operation::Read { offset, len };
                pending(operation, Shape::Read(first, count), first, count)
            }
            86..93 => zero(first, count, false),
            93 => {
                let (offset, len) = (first * SECTOR, count * SECTOR);
                pending(Operation::Status { offset, len }, Shape::Other, first, count)
            }
            94 => pending(Operation::Flush, Shape::Other, first, 1),
            95 => map_hint(object, objects, is_idle),
            96..98 => zero(first / SECTORS_PER_BLOCK * SECTORS_PER_BLOCK, SECTORS_PER_BLOCK, true),
            _ => zero(object * SECTORS_PER_OBJECT, SECTORS_PER_OBJECT, true),
        }
    }
}

fn zero(first: u64, count: u64, discard: bool) -> Pending {
    let (offset, len) = (first * SECTOR, count * SECTOR);
    let operation = Operation::Zero { offset, len, discard };
    pending(operation, Shape::Zero(first, count), first, count)
}

/// An old client says that an object is not used any more, when nothing of it is under way; or it
/// asks for the map.
fn map_hint(object: u64, objects: u64, is_idle: bool) -> Pending {
    let (first, count) = (object * SECTORS_PER_OBJECT, SECTORS_PER_OBJECT);
    if is_idle {
        let (offset, data) = (object as u32 * 4, (&[0_u8; 4][..]).into());
        let operation = Operation::WriteMap { offset, data };
        return pending(operation, Shape::Zero(first, count), first, count);
    }
    let operation = Operation::ReadMap { offset: 0, len: objects as u32 * 4 };
    pending(operation, Shape::Other, first, count)
}

pub(super) fn pending(operation: Operation, shape: Shape, first: u64, count: u64) -> Pending {
    let last = (first + count.max(1) - 1) / SECTORS_PER_OBJECT;
    Pending { operation, shape, objects: first / SECTORS_PER_OBJECT..=last, since: 0 }
}
