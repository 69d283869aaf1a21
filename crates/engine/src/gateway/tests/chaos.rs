//! One run of a whole herd from one seed: faults and load at random, then calm, then a last look.

use sheepdog_proto::command::{Command, Copies};
use sheepdog_proto::{NodeId, ObjectKind};

use super::herd::{Herd, Weakness};
use super::stage::changes;
use super::vm::Vm;

/// How a run goes; everything per thousand steps.
#[derive(Debug)]
struct Profile {
    steps: usize,
    kill: usize,
    suspect: usize,
    cut: usize,
    /// A connection stands still, or all of them go on.
    stall: usize,
    /// The log takes a VDI from its owner, which does not know.
    force: usize,
    /// A disk of a sheep fails, or the log learns of it.
    broken: usize,
    /// Living sheep below this number are not killed.
    alive_min: usize,
    /// Steps after which the log may learn of a death.
    gone: usize,
    start: usize,
}

/// What one run has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) events: usize,
    pub(super) answered: usize,
    pub(super) deaths: usize,
}

struct Run {
    herd: Herd,
    vms: Vec<Vm>,
    profile: Profile,
    token: u64,
    seen: Seen,
}

/// Runs one seed.
pub(super) fn run(seed: u64, is_loud: bool) -> Result<Seen, String> {
    let mut run = Run::new(seed, is_loud);
    for _ in 0..run.profile.steps {
        run.step();
        run.look()?;
    }
    run.calm()?;
    run.last_look()?;
    run.seen.answered = run.vms.iter().map(|vm| vm.history.answered()).sum();
    Ok(run.seen)
}

impl Run {
    fn new(seed: u64, is_loud: bool) -> Self {
        let mut random = super::random::Random::new(seed);
        let count = *random.pick(&[1, 2, 3, 3, 3, 3, 5]);
        let copies =
            if count > 2 && random.chance(250) { Copies::Exactly(2) } else { Copies::Auto };
        let shards = *random.pick(&[1, 1, 2]);
        let bits = *random.pick(&[0, 1, 2, 3]);
        let mut herd = Herd::new(random.next(), count, shards, copies, bits);
        herd.is_loud = is_loud;
        herd.weakness = Weakness {
            unreadable: *random.pick(&[0, 0, 30, 150]),
            full: *random.pick(&[0, 0, 0, 50]),
            forgets: *random.pick(&[0, 300, 1000]),
        };
        let profile = Profile {
            steps: 200 + random.below(600),
            kill: *random.pick(&[0, 3, 8, 15]),
            suspect: *random.pick(&[0, 0, 3]),
            cut: *random.pick(&[0, 5, 30]),
            stall: *random.pick(&[0, 20, 50]),
            force: *random.pick(&[0, 0, 10]),
            broken: *random.pick(&[0, 0, 4, 10]),
            alive_min: *random.pick(&[0, 1, 2]),
            gone: *random.pick(&[10, 60, 200]),
            start: *random.pick(&[5, 20, 60]),
        };
        let mut vms = Vec::new();
        for name in ["a", "b"].iter().take(1 + random.below(2)) {
            let objects = 1 + random.below(3) as u64;
            let mut vm = Vm::new(herd.create(name, objects), objects);
            vm.hot = *random.pick(&[1, 2, 5]);
            vm.window = *random.pick(&[1, 3, 64]);
            vm.discards = random.chance(400);
            vm.history.has_refusals = herd.weakness.unreadable > 0;
            vms.push(vm);
        }
        herd.say(|| format!("seed {seed}: {count} sheep, {copies:?}, {profile:?}"));
        Self { herd, vms, profile, token: 0, seen: Seen::default() }
    }

    fn step(&mut self) {
        self.seen.events += 1;
        match self.herd.random.below(100) {
            0..48 => self.deliver(),
            48..64 => self.execute(),
            64..74 => self.advance(),
            74..78 => self.append(),
            78..91 => {
                let at = self.herd.random.below(self.vms.len());
                self.vms[at].step(&mut self.herd, &mut self.token);
            }
            91..93 => self.tick(),
            _ => self.fault(),
        }
    }

    fn deliver(&mut self) {
        let sides = self.herd.links.all.len() * 2;
        let start = self.herd.random.below(sides);
        for offset in 0..sides {
            let side = (start + offset) % sides;
            let moved = if side.is_multiple_of(2) {
                self.herd.deliver_request(side / 2)
            } else {
                self.herd.deliver_reply(side / 2)
            };
            if moved {
                return;
            }
        }
    }

    fn execute(&mut self) {
        let places = self.herd.places();
        let start = self.herd.random.below(places.len());
        let overtaking = self.herd.random.chance(300);
        for offset in 0..places.len() {
            if self.herd.execute(places[(start + offset) % places.len()], overtaking) {
                return;
            }
        }
    }

    fn advance(&mut self) {
        let places = self.herd.places();
        if places.is_empty() {
            return;
        }
        let place = *self.herd.random.pick(&places);
        let newest = self.herd.log.len();
        let applied = self.herd.unit(place).map_or(newest, |unit| unit.applied);
        let to = (applied + 1 + self.herd.random.below(4)).min(newest);
        let grants_first = self.herd.random.chance(500);
        self.herd.advance(place, to, grants_first);
    }

    fn append(&mut self) {
        let at = self.herd.random.below(self.herd.proposals.len());
        if let Some(command) = self.herd.proposals.remove(at) {
            self.herd.append(command);
        }
    }

    fn tick(&mut self) {
        let places = self.herd.places();
        if !places.is_empty() {
            let place = *self.herd.random.pick(&places);
            self.herd.tick(place);
        }
    }

    fn fault(&mut self) {
        let node = NodeId(self.herd.random.below(self.herd.sheep.len()) as u16);
        let is_alive = self.herd.life(node).is_some();
        let alive = self.herd.sheep.iter().filter(|sheep| sheep.life.is_some()).count();
        let Profile { kill, suspect, cut, stall, force, broken, alive_min, gone, start, .. } =
            self.profile;
        // Called 7 times in a hundred steps, so chances are raised to "per thousand steps".
        let mut chance = |count: usize| self.herd.random.chance(count * 14);
        if is_alive && alive > alive_min && chance(kill) {
            self.herd.kill(node);
        } else if chance(if is_alive && alive > alive_min { suspect } else { 0 })
            || chance(if is_alive { 0 } else { gone })
        {
            self.herd.gone(node);
        } else if !is_alive && chance(start) {
            self.herd.start(node);
        } else if chance(force) {
            let at = self.herd.random.below(self.vms.len());
            let vid = self.vms[at].vid;
            let vdi = self.herd.newest().catalogue.get(vid).cloned();
            if let Some(owner) = vdi.and_then(|vdi| vdi.attachment) {
                self.herd.append(Command::Detach { vid, generation: owner.generation });
            }
        } else if chance(broken) {
            let disk = self.herd.random.below(2) as u16;
            self.herd.break_disk(node, disk);
        } else if chance(broken * 3) {
            self.herd.demote(node);
        } else if chance(stall) && !self.herd.links.all.is_empty() {
            let at = self.herd.random.below(self.herd.links.all.len());
            self.herd.links.all[at].is_stalled = true;
            self.herd.say(|| format!("link {at} stands still"));
        } else if chance(stall / 4) {
            let kind = *self.herd.random.pick(&[ObjectKind::Map, ObjectKind::Data]);
            self.herd.say(|| format!("no room for {kind:?}"));
            self.herd.refused = Some(Box::new(move |_, request| changes(request, kind)));
        } else if chance(20) {
            self.herd.links.all.iter_mut().for_each(|link| link.is_stalled = false);
            self.herd.refused = None;
        } else if chance(cut) && !self.herd.links.all.is_empty() {
            let at = self.herd.random.below(self.herd.links.all.len());
            if self.herd.links.all[at].is_up {
                let keeps_late = self.herd.random.chance(500);
                self.herd.links.cut(at, keeps_late);
            }
        } else if self.herd.random.chance(400) {
            self.herd.mend_all();
        }
    }

    /// Clients learn what has happened.
    fn look(&mut self) -> Result<(), String> {
        while let Some(event) = self.herd.events.pop_front() {
            self.seen.deaths += usize::from(matches!(event, super::herd::Event::Died(_)));
            for vm in &mut self.vms {
                vm.handle(&mut self.herd, &event)?;
            }
        }
        Ok(())
    }

    /// Faults end, every sheep returns, everything submitted is answered.
    fn calm(&mut self) -> Result<(), String> {
        self.herd.say(|| "calm".to_owned());
        self.herd.weakness = Weakness::default();
        self.herd.refused = None;
        self.herd.links.all.iter_mut().for_each(|link| link.is_stalled = false);
        for round in 0..20 {
            if round > 1 && self.vms.iter().all(Vm::is_quiet) && self.herd.is_complete() {
                break;
            }
            for node in 0..self.herd.sheep.len() as u16 {
                if self.herd.life(NodeId(node)).is_none() {
                    self.herd.start(NodeId(node));
                }
            }
            self.herd.replace_disks();
            self.herd.rest();
            self.look()?;
        }
        match self.vms.iter().find(|vm| !vm.is_quiet()) {
            Some(vm) => Err(format!("stuck: {:?}", vm.sessions)),
            None if !self.herd.is_complete() => Err("copies that never come in sync".to_owned()),
            None => self.check_attached(),
        }
    }

    /// What is attached has come to rest while its owner lives.
    fn check_attached(&mut self) -> Result<(), String> {
        for vm in self.vms.iter().filter(|vm| vm.is_attached(&self.herd)).collect::<Vec<_>>() {
            vm.check_complete(&mut self.herd)?;
            self.herd.check_converged(vm.vid)?;
        }
        self.herd.check_idle()
    }

    /// Everything is read through several sheep, each time all copies are equal.
    fn last_look(&mut self) -> Result<(), String> {
        let count = self.herd.sheep.len();
        let first = self.herd.random.below(count);
        for turn in 0..count.min(3) {
            let node = NodeId(((first + turn) % count) as u16);
            self.herd.say(|| format!("last look through {node}"));
            self.detach_all()?;
            for vm in &self.vms {
                vm.ask(&mut self.herd, node);
            }
            self.herd.rest();
            self.look()?;
            for vm in &mut self.vms {
                vm.read_all(&mut self.herd, &mut self.token);
            }
            self.herd.rest();
            self.look()?;
            for vm in &self.vms {
                if !vm.is_quiet() || vm.sessions.len() != 1 {
                    return Err(format!("stuck at the end: {:?}", vm.sessions));
                }
                vm.check_complete(&mut self.herd)?;
                self.herd.check_converged(vm.vid)?;
            }
            self.herd.check_idle()?;
        }
        Ok(())
    }

    fn detach_all(&mut self) -> Result<(), String> {
        for vm in &mut self.vms {
            vm.drain_all(&mut self.herd);
        }
        self.herd.rest();
        self.look()?;
        self.herd.rest();
        self.look()?;
        match self.vms.iter().find(|vm| !vm.sessions.is_empty()) {
            Some(vm) => Err(format!("never drained: {:?}", vm.sessions)),
            None => Ok(()),
        }
    }
}
