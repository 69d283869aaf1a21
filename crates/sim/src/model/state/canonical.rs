//! Canonical form: forgets what no later step of a run can depend on.
//!
//! Why: situations that go on alike must not be walked twice.
//! Holds:
//!   M2 only what no later step reads is forgotten;
//!   M3 renaming members changes no step, so that one naming may stand for all.

use super::{Gateway, Phase, Post, Replica, State};
use crate::model::config::{ATTACHMENTS_MAX, Config, MEMBERS_MAX, Rule};
use crate::model::control::{Control, Entry, Members};

impl State {
    /// Brings the state into the one form that stands for all that go on alike. // M2, M3
    pub(in crate::model) fn canonical(&mut self, config: &Config) {
        self.forget_replicas(config);
        for generation in 1..=ATTACHMENTS_MAX {
            self.forget_gateway(config, generation);
        }
        self.forget_log();
        if config.symmetry {
            self.sort_members(config.bounds.members);
        }
    }

    fn forget_replicas(&mut self, config: &Config) {
        let tail = self.tail;
        for (member, replica) in self.replicas.iter_mut().enumerate() {
            let member = member as u8;
            if replica.phase == Phase::Up && !replica.control.alive.has(member) {
                replica.phase = Phase::Down;
            }
            let known = if replica.phase == Phase::Up { replica.control } else { tail };
            if !config.pull && !known.insync.has(member) {
                replica.phase = Phase::Out;
            }
            if replica.phase != Phase::Up {
                replica.control = Control::default();
                replica.applied = 0;
                replica.joined = 0;
                // A removed member's copy is never read; as a joiner it starts from nothing.
                if !tail.insync.has(member) && !config.delta {
                    *replica = Replica {
                        phase: replica.phase,
                        acked: replica.acked,
                        barriered: replica.barriered,
                        ..Replica::default()
                    };
                }
            }
        }
    }

    fn forget_gateway(&mut self, config: &Config, generation: u8) {
        let bit = 1 << (generation - 1);
        let mut gateway = *self.gateway(generation);
        if gateway.post == Post::Owner && gateway.control.generation != generation {
            let Gateway { done, flight, .. } = gateway;
            gateway = Gateway { post: Post::Former, done, flight, ..Gateway::default() };
        }
        if let Some(flight) = &mut gateway.flight {
            let owner = gateway.post == Post::Owner;
            let counted = if !owner {
                0
            } else if config.rules.has(Rule::AcksOfThisView) {
                1 << gateway.control.view
            } else {
                u16::MAX
            };
            for (views, replica) in flight.sent.iter_mut().zip(&self.replicas) {
                *views &= arriving(config, replica, generation);
                if !config.pull && replica.stamp >= flight.stamp {
                    *views &= counted;
                }
            }
            if !owner && flight.sent == [0; MEMBERS_MAX as usize] {
                gateway.flight = None;
            }
        }
        let counting = gateway.post == Post::Owner && gateway.flight.is_some();
        let known = gateway.control.alive.or(gateway.control.insync);
        for (member, replica) in self.replicas.iter_mut().enumerate() {
            if !counting {
                replica.acked &= !bit;
            }
            if !known.has(member as u8) {
                replica.barriered &= !bit;
            }
        }
        *self.gateway_mut(generation) = gateway;
    }

    fn forget_log(&mut self) {
        let start = self.log_start();
        self.log[..start as usize].fill(Entry::None);
    }

    /// How many entries everybody who goes on reading the log has applied.
    pub(super) fn log_start(&self) -> u8 {
        let mut start = self.log_length;
        for replica in &self.replicas {
            if replica.phase == Phase::Up {
                start = start.min(replica.applied);
            }
        }
        for gateway in &self.gateways {
            if gateway.post == Post::Owner {
                start = start.min(gateway.applied);
            }
        }
        start
    }

    // Renaming members is always sound. Sorting them by what is known of each finds the same
    // names for nearly every pair of states that differ in names only.
    fn sort_members(&mut self, members: u8) {
        let mut order = [0u8, 1, 2];
        let keys = order.map(|member| self.member_code(member));
        order[..members as usize].sort_by_key(|member| keys[*member as usize]);
        if order == [0, 1, 2] {
            return;
        }
        let mut place = [0u8; MEMBERS_MAX as usize];
        for (new, old) in order.iter().enumerate() {
            place[*old as usize] = new as u8;
        }
        self.replicas = order.map(|member| self.replicas[member as usize]);
        let rename = |set: &mut Members| {
            *set = set.iter().fold(Members::NONE, |all, member| all.with(place[member as usize]));
        };
        let rename_control = |control: &mut Control| {
            rename(&mut control.insync);
            rename(&mut control.lost);
            rename(&mut control.alive);
            rename(&mut control.returned);
            control.left = order.map(|member| control.left[member as usize]);
        };
        rename_control(&mut self.tail);
        for replica in &mut self.replicas {
            rename_control(&mut replica.control);
        }
        for gateway in &mut self.gateways {
            rename_control(&mut gateway.control);
            if let Some(flight) = &mut gateway.flight {
                flight.sent = order.map(|member| flight.sent[member as usize]);
            }
        }
        for entry in &mut self.log {
            if let Entry::Down(m) | Entry::Join(m) | Entry::InSync(m) = entry {
                *m = place[*m as usize];
            }
        }
    }
}

// The views under which a request of `generation` can still be accepted, now or later.
fn arriving(config: &Config, replica: &Replica, generation: u8) -> u16 {
    let fenced = replica.control.generation > generation && config.rules.has(Rule::Fence);
    if replica.phase != Phase::Up || fenced {
        0
    } else if config.rules.has(Rule::RefuseOlderView) {
        u16::MAX << replica.control.view
    } else {
        u16::MAX
    }
}
