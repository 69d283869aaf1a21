//! What a client does after all is healed: it reads everything, through one sheep after another.

use sheepdog_engine::volume::Operation;

use super::super::check::history::SECTOR;
use super::super::world::World;
use super::work::pending;
use super::{Phase, Shape};

/// Times that everything is read.
const LOOKS: usize = 3;
/// Sectors of one read, at most.
const READ_SECTORS: u64 = 64;

impl World {
    pub(super) fn look(&mut self, client: usize) {
        let known = &self.clients[client];
        if !known.pending.is_empty() {
            return;
        }
        if !known.is_looking {
            self.clients[client].is_looking = true;
            self.read_everything(client);
            return;
        }
        self.clients[client].looks += 1;
        self.trace.count("everything read");
        if self.clients[client].looks < LOOKS {
            self.detach_client(client);
        } else {
            self.clients[client].phase = Phase::Done;
        }
    }

    fn read_everything(&mut self, client: usize) {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for sector in self.clients[client].history.sectors() {
            match ranges.last_mut() {
                Some((first, count)) if *first + *count == sector && *count < READ_SECTORS => {
                    *count += 1;
                }
                _ => ranges.push((sector, 1)),
            }
        }
        for (first, count) in ranges {
            let (offset, len) = (first * SECTOR, (count * SECTOR) as u32);
            let operation = Operation::Read { offset, len };
            self.submit_operation(
                client,
                pending(operation, Shape::Read(first, count), first, count),
            );
        }
    }

    /// Every client has seen everything.
    pub(in super::super) fn is_done(&self) -> bool {
        self.clients.iter().all(|client| client.phase == Phase::Done)
    }

    /// What clients still wait for.
    pub(in super::super) fn describe_clients(&self) -> String {
        let one = |client: &super::Client| {
            let waits: Vec<u64> = client.pending.keys().copied().collect();
            format!("{:?} of {:?} waits for {waits:?}", client.phase, client.vid)
        };
        self.clients.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
