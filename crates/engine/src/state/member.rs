//! Members: every sheep that ever joined, and whether its current life goes on.

use sheepdog_proto::command::{Addresses, Command};
use sheepdog_proto::{Incarnation, NodeId, PgId};

/// One sheep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, given at its first join, never reused.
    pub node: NodeId,
    /// Identity kept in its directory.
    pub uuid: u128,
    /// Its current or last life.
    pub incarnation: Incarnation,
    /// False: that life has ended, or takes part in nothing any more (`is_expelled`).
    pub up: bool,
    /// The others did not reach it. It may live, and owns what it owned.
    pub is_expelled: bool,
    /// It has been away for so long that its copies are made elsewhere.
    pub is_out: bool,
    /// Who hears nothing of it.
    pub silent_for: Vec<NodeId>,
    /// Copies of one object go to different zones.
    pub zone: u32,
    /// Virtual nodes on the ring; 0 = stores nothing.
    pub weight: u32,
    /// Shards that peers connect to; at least 1.
    pub shards: u16,
    /// Where it is reached.
    pub addresses: Addresses,
}

impl Member {
    /// The shard that keeps this member's copy of `pg`.
    #[must_use]
    pub const fn shard_of(&self, pg: PgId) -> u16 {
        pg.partition.0 % self.shards
    }
}

/// All members, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    list: Vec<Member>,
}

impl Members {
    /// One member.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.list.get(usize::from(node.0))
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter()
    }

    /// Those whose life goes on.
    pub fn up(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().filter(|member| member.up)
    }

    /// By identity.
    #[must_use]
    pub fn find(&self, uuid: u128) -> Option<&Member> {
        self.list.iter().find(|member| member.uuid == uuid)
    }

    /// Starts a life. Returns the number and the life it replaces, if that had not ended.
    pub(super) fn join(
        &mut self,
        command: &Command,
        incarnation: Incarnation,
    ) -> (NodeId, Option<Incarnation>) {
        let Command::Join { uuid, zone, weight, shards, addresses } = command else {
            unreachable!("only called for Join");
        };
        let position = self.list.iter().position(|m| m.uuid == *uuid).unwrap_or(self.list.len());
        let before = self.list.get(position).filter(|m| m.up || m.is_expelled);
        let before = before.map(|m| m.incarnation);
        let member = Member {
            node: NodeId(position as u16),
            uuid: *uuid,
            incarnation,
            up: true,
            is_expelled: false,
            is_out: false,
            silent_for: Vec::new(),
            zone: *zone,
            weight: *weight,
            shards: (*shards).max(1),
            addresses: addresses.clone(),
        };
        let node = member.node;
        match self.list.get_mut(position) {
            Some(slot) => *slot = member,
            None => self.list.push(member),
        }
        self.drop_complaints(node);
        (node, before)
    }

    pub(super) fn gone(&mut self, node: NodeId) {
        if let Some(member) = self.list.get_mut(usize::from(node.0)) {
            (member.up, member.is_expelled) = (false, false);
            member.silent_for.clear();
        }
        self.drop_complaints(node);
    }

    /// It takes part in nothing any more, but what it owns stays its own.
    pub(super) fn expel(&mut self, node: NodeId) {
        self.gone(node);
        if let Some(member) = self.list.get_mut(usize::from(node.0)) {
            member.is_expelled = true;
        }
    }

    pub(super) fn set_out(&mut self, node: NodeId) {
        if let Some(member) = self.list.get_mut(usize::from(node.0)) {
            member.is_out = true;
        }
    }

    /// `by` hears nothing of `node`, or hears of it again.
    pub(super) fn complain(&mut self, by: NodeId, node: NodeId, is_silent: bool) {
        if let Some(member) = self.list.get_mut(usize::from(node.0)) {
            member.silent_for.retain(|other| *other != by);
            if is_silent {
                member.silent_for.push(by);
            }
        }
    }

    /// What a life said that has ended counts no more.
    fn drop_complaints(&mut self, by: NodeId) {
        for member in &mut self.list {
            member.silent_for.retain(|other| *other != by);
        }
    }
}
