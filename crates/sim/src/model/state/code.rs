//! Code: all of a state as a row of numbers, from which the checker makes its 64-bit key.
//!
//! Why: the checker keeps a key per state, not the state; one row hashes faster than the fields.
//! Holds: M1 two states with the same code are equal.

use std::hash::{Hash, Hasher};

use sheepdog_proto::Stamp;

use super::State;
use crate::model::config::MEMBERS_MAX;
use crate::model::control::{Control, Entry};

impl State {
    /// All that is known of one member.
    pub(super) fn member_code(&self, member: u8) -> [u64; 4] {
        let replica = self.replica(member);
        let own = u64::from(replica.applied)
            | stamp_code(replica.stamp) << 8
            | u64::from(replica.write) << 16
            | u64::from(replica.joined) << 24
            | u64::from(replica.acked) << 32
            | u64::from(replica.barriered) << 40
            | (replica.phase as u64) << 48
            | u64::from(replica.unstable) << 52
            | u64::from(replica.present) << 53
            | u64::from(replica.modified) << 56;
        let mut log = 0;
        for index in self.log_start()..self.log_length {
            let named = match self.log[index as usize] {
                Entry::Down(m) if m == member => 1,
                Entry::Join(m) if m == member => 2,
                Entry::InSync(m) if m == member => 3,
                _ => 0,
            };
            log |= named << (2 * index);
        }
        let mut places = place_code(&self.tail, member);
        let mut sent = 0;
        for gateway in &self.gateways {
            places = places << 4 | place_code(&gateway.control, member);
            let views = match &gateway.flight {
                Some(flight) => flight.sent[member as usize],
                None => 0,
            };
            sent = sent << 16 | u64::from(views);
        }
        places = places << 4 | place_code(&replica.control, member);
        [own, log, places, sent]
    }

    pub(super) fn code(&self) -> [u64; 26] {
        let mut code = [0; 26];
        for member in 0..MEMBERS_MAX {
            let part = self.member_code(member);
            let at = member as usize * 5;
            code[at..at + 4].copy_from_slice(&part);
            code[at + 4] = control_code(&self.replica(member).control);
        }
        for (index, gateway) in self.gateways.iter().enumerate() {
            let at = 15 + index * 2;
            let flight = gateway.flight.map_or(0, |f| {
                1 | u64::from(f.reconcile) << 1 | u64::from(f.write) << 2 | stamp_code(f.stamp) << 8
            });
            code[at] = control_code(&gateway.control);
            code[at + 1] = gateway.post as u64
                | u64::from(gateway.dirty) << 2
                | u64::from(gateway.done) << 8
                | u64::from(gateway.applied) << 16
                | flight << 24;
        }
        code[21] = control_code(&self.tail);
        for index in self.log_start()..self.log_length {
            code[22] |= entry_code(self.log[index as usize]) << (4 * index);
        }
        code[23] = u64::from(self.log_length)
            | u64::from(self.downs) << 8
            | u64::from(self.writes) << 16
            | u64::from(self.finished) << 24
            | self.fault.map_or(0, |fault| fault as u64 + 1) << 32
            | u64::from(self.unfenced) << 40;
        code[24] = self.seen.code();
        code[25] = self.unread.code();
        code
    }
}

// M1
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.code() {
            state.write_u64(word);
        }
    }
}

fn stamp_code(stamp: Stamp) -> u64 {
    u64::from(stamp.generation().0) << 4 | stamp.sequence()
}

fn place_code(control: &Control, member: u8) -> u64 {
    u64::from(control.insync.has(member))
        | u64::from(control.lost.has(member)) << 1
        | u64::from(control.alive.has(member)) << 2
        | u64::from(control.returned.has(member)) << 3
}

fn control_code(control: &Control) -> u64 {
    u64::from(control.insync.0)
        | u64::from(control.lost.0) << 8
        | u64::from(control.alive.0) << 16
        | u64::from(control.returned.0) << 24
        | u64::from(control.view) << 32
        | u64::from(control.generation) << 40
        | control.left.iter().fold(0, |all, left| all << 4 | u64::from(*left)) << 48
}

// Members are named by `member_code`; an `Act` names the view in force where it stands.
fn entry_code(entry: Entry) -> u64 {
    match entry {
        Entry::None => 0,
        Entry::Down(_) => 1,
        Entry::Join(_) => 2,
        Entry::Attach => 3,
        Entry::InSync(_) => 4,
        Entry::Act(_) => 5,
    }
}
