//! What breaks, chosen by the seed, and how all is healed.
//!
//! Holds:
//!   B1 nothing takes away the last copy of what was acknowledged: power cuts leave what was
//!      synced, no disk is destroyed, so every loss is a mistake of the code;
//!   B2 after `heal` every process runs, every way is open and the log is reached.

use sheepdog_store::FakeDisk;
use sheepdog_store::disk::fake::Fault as DiskFault;

use super::event::{Broken, Event, Inside};
use super::fuse::Fuse;
use super::random::Random;
use super::world::World;

const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill,
    KillBetweenActions,
    PowerOfOne,
    PowerOfAll,
    /// Shorter than the log's patience, mostly.
    ShortPause,
    /// Longer than anything.
    LongPause,
    Leave,
    Cut,
    OneWay,
    BothWays,
    /// From everybody and from the log.
    Isolate,
    OffLog,
    LogOut,
    DiskError,
    DiskFull,
    SlowDisk,
    /// A restart with another weight.
    Weight,
}

/// Some twice, for they meet what others miss.
const ALL: [Fault; 18] = [
    Fault::Kill,
    Fault::KillBetweenActions,
    Fault::KillBetweenActions,
    Fault::PowerOfOne,
    Fault::PowerOfAll,
    Fault::ShortPause,
    Fault::LongPause,
    Fault::Leave,
    Fault::Cut,
    Fault::OneWay,
    Fault::BothWays,
    Fault::Isolate,
    Fault::OffLog,
    Fault::LogOut,
    Fault::DiskError,
    Fault::DiskFull,
    Fault::SlowDisk,
    Fault::Weight,
];

impl Fault {
    /// One to five kinds; one run in ten has none. Where a sheep can do without a disk, disks fail
    /// often.
    pub(super) fn choose(random: &mut Random, disks: usize) -> Vec<Self> {
        if random.chance(100) {
            return Vec::new();
        }
        let count = random.between(1, 6);
        let mut kinds: Vec<Self> = (0..count).map(|_| random.pick(&ALL)).collect();
        if disks > 1 && random.chance(500) {
            kinds.push(Self::DiskError);
        }
        kinds
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "fault: killed",
            Self::KillBetweenActions => "fault: fuse lit",
            Self::PowerOfOne => "fault: power of one cut",
            Self::PowerOfAll => "fault: power of all cut",
            Self::ShortPause => "fault: short pause",
            Self::LongPause => "fault: long pause",
            Self::Leave => "fault: asked to leave",
            Self::Cut => "fault: connection cut",
            Self::OneWay => "fault: one way blocked",
            Self::BothWays => "fault: both ways blocked",
            Self::Isolate => "fault: isolated",
            Self::OffLog => "fault: off the log",
            Self::LogOut => "fault: log out",
            Self::DiskError => "fault: disk error",
            Self::DiskFull => "fault: disk full",
            Self::SlowDisk => "fault: slow disk",
            Self::Weight => "fault: another weight",
        }
    }
}

impl World {
    /// The next thing breaks.
    pub(super) fn handle_fault(&mut self) {
        if self.is_healing || self.profile.faults.is_empty() {
            return;
        }
        let delay = self.random.between(self.profile.fault_ns.0, self.profile.fault_ns.1);
        self.later(delay, Event::Fault);
        let sheep = self.choose_victim();
        let fault = self.random.pick(&self.profile.faults);
        if self.serves(sheep).is_some() {
            self.say(|| format!("{}: sheep {sheep}", fault.name()));
            self.trace.count(fault.name());
            self.break_sheep(fault, sheep);
        }
    }

    /// Mostly one that serves somebody.
    fn choose_victim(&mut self) -> usize {
        let client = self.random.index(self.clients.len());
        match self.clients[client].sheep() {
            Some(sheep) if self.random.chance(600) => sheep,
            _ => self.random.index(self.sheep.len()),
        }
    }

    fn break_sheep(&mut self, fault: Fault, sheep: usize) {
        let Some(serial) = self.serves(sheep) else { return };
        match fault {
            Fault::Kill => self.kill(sheep, "killed"),
            Fault::KillBetweenActions => {
                let fuse = Fuse::new(&mut self.random);
                if let Some(life) = self.sheep[sheep].life.as_mut() {
                    life.fuse = Some(fuse);
                }
            }
            Fault::PowerOfOne => self.cut_power(sheep),
            Fault::PowerOfAll => (0..self.sheep.len()).for_each(|sheep| self.cut_power(sheep)),
            Fault::ShortPause => {
                let pause = self.random.between(MS, 700 * MS);
                self.pause(sheep, pause);
            }
            Fault::LongPause => {
                let pause = self.random.between(3_000 * MS, 14_000 * MS);
                self.pause(sheep, pause);
            }
            Fault::Leave => {
                if self.sheep[sheep].life.as_ref().is_some_and(|life| life.leaving.is_none()) {
                    let what = Inside::Leave;
                    self.later(0, Event::Life { sheep, life: serial, what });
                }
            }
            Fault::Cut => {
                let ids = self.network.ids();
                if !ids.is_empty() {
                    let id = self.random.pick(&ids);
                    self.cut(id);
                }
            }
            Fault::OneWay | Fault::BothWays => self.block_ways(fault, sheep),
            Fault::Isolate => self.isolate(sheep),
            Fault::OffLog => self.take_off_log(sheep),
            Fault::LogOut => {
                self.log.is_out = true;
                let delay = self.random.between(20 * MS, 5_000 * MS);
                self.later(delay, Event::Mend { what: Broken::Log });
            }
            Fault::DiskError => self.break_disk(sheep),
            Fault::DiskFull => self.fill_disks(sheep),
            Fault::SlowDisk => {
                let (low, high) = self.profile.disk_ns;
                let factor = self.random.pick(&[1, 5, 40]);
                self.sheep[sheep].disk_ns = (low * factor, high * factor);
            }
            Fault::Weight => {
                self.sheep[sheep].weight = self.random.pick(&[0, 4, 16, 64]);
                self.kill(sheep, "to get another weight");
            }
        }
    }

    fn block_ways(&mut self, fault: Fault, sheep: usize) {
        let other = self.random.index(self.sheep.len());
        self.block(sheep, other);
        if fault == Fault::BothWays {
            self.block(other, sheep);
        }
    }

    fn block(&mut self, from: usize, to: usize) {
        self.network.block(from, to);
        let delay = self.random.between(10 * MS, 4_000 * MS);
        self.later(delay, Event::Mend { what: Broken::Way { from, to } });
    }

    fn isolate(&mut self, sheep: usize) {
        for other in 0..self.sheep.len() {
            self.block(sheep, other);
            self.block(other, sheep);
        }
        self.take_off_log(sheep);
    }

    fn take_off_log(&mut self, sheep: usize) {
        let Some(life) = self.serves(sheep) else { return };
        self.sheep[sheep].is_off_log = true;
        let delay = self.random.between(100 * MS, 14_000 * MS);
        self.later(delay, Event::Mend { what: Broken::LogOf { sheep } });
        let patience = self.profile.pause_session_ns;
        self.later(patience, Event::SessionEnds { sheep, life });
    }

    fn break_disk(&mut self, sheep: usize) {
        let slot = self.random.index(self.profile.disks);
        let shard = self.random.index(usize::from(self.profile.shards));
        let kind = self.random.pick(&[DiskFault::Write, DiskFault::Sync]);
        let after = self.random.below(4);
        self.sheep[sheep].disks[shard][slot].fail(kind, after);
    }

    /// There is little room left for a while.
    fn fill_disks(&mut self, sheep: usize) {
        for disk in self.sheep[sheep].disks.iter().flatten() {
            let spare = self.random.below(300) << 12;
            disk.set_capacity(Some(disk.used() + spare));
        }
        let delay = self.random.between(50 * MS, 4_000 * MS);
        self.later(delay, Event::Mend { what: Broken::Full { sheep } });
    }

    pub(super) fn mend(&mut self, what: &Broken) {
        match what {
            Broken::Way { from, to } => self.open_way(*from, *to),
            Broken::LogOf { sheep } => {
                self.sheep[*sheep].is_off_log = false;
                self.call_log_again();
                self.feed(*sheep);
            }
            Broken::Full { sheep } => {
                let disks = self.sheep[*sheep].disks.iter().flatten();
                disks.for_each(|disk| disk.set_capacity(None));
            }
            Broken::Log => {
                self.log.is_out = false;
                self.call_log_again();
            }
        }
    }

    fn open_way(&mut self, from: usize, to: usize) {
        for (connection, message) in self.network.open(from, to) {
            self.send(connection, message);
        }
    }

    fn call_log_again(&mut self) {
        for proposal in std::mem::take(&mut self.log.waiting) {
            let delay = self.random.delay(self.profile.log_ns);
            self.later(delay, Event::Append { proposal });
        }
    }

    /// Everything is whole from now on (B2).
    pub(super) fn heal(&mut self) {
        self.say(|| "all is healed".to_owned());
        self.is_healing = true;
        (self.profile.log_busy, self.profile.log_forgets) = (0, 0);
        for (from, to) in self.network.blocked() {
            self.open_way(from, to);
        }
        self.mend(&Broken::Log);
        for sheep in 0..self.sheep.len() {
            self.mend(&Broken::LogOf { sheep });
            self.mend(&Broken::Full { sheep });
            self.sheep[sheep].disk_ns = self.profile.disk_ns;
            self.sheep[sheep].disks.iter().flatten().for_each(FakeDisk::clear_faults);
            let life = self.sheep[sheep].life.as_mut().map(|life| {
                life.fuse = None;
                (life.serial, life.failed.is_empty())
            });
            match life {
                Some((serial, true)) => self.wake(sheep, serial),
                Some((_, false)) => self.kill(sheep, "to get its disk back"),
                None => self.start(sheep),
            }
        }
    }
}
