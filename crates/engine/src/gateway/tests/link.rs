//! Connections between the shards of the herd: first in, first out, and mortal.
//!
//! Holds:
//!   C1 requests of one connection arrive in order; connections do not wait for each other;
//!   C2 what was on the way when a connection broke is lost, or arrives late, but never after
//!      the first message of the connection that follows it.

use std::collections::VecDeque;

use sheepdog_proto::peer::{Reply, Request};

use super::super::Place;

/// One connection, or what is left of one.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) from: Place,
    /// Life of the process that made it.
    pub(super) life: u64,
    pub(super) to: Place,
    pub(super) is_up: bool,
    /// Broken, and only its remaining requests still arrive.
    pub(super) is_late: bool,
    /// Nothing arrives by it for a while.
    pub(super) is_stalled: bool,
    /// Nothing has arrived by it yet.
    is_fresh: bool,
    pub(super) requests: VecDeque<Request>,
    pub(super) replies: VecDeque<Reply>,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) all: Vec<Link>,
    last: u64,
}

impl Links {
    fn open(&mut self, from: Place, life: u64, to: Place, is_up: bool) -> &mut Link {
        self.last += 1;
        let (requests, replies) = (VecDeque::new(), VecDeque::new());
        let id = self.last;
        let link = Link {
            id,
            from,
            life,
            to,
            is_up,
            is_late: false,
            is_stalled: false,
            is_fresh: true,
            requests,
            replies,
        };
        self.all.push(link);
        self.all.last_mut().expect("just pushed")
    }

    /// Sends if there is a connection; `alive` tells whether a first one can be made.
    pub(super) fn send(
        &mut self,
        from: Place,
        life: u64,
        to: Place,
        alive: bool,
        request: Request,
    ) {
        let at = self.all.iter().position(|l| l.from == from && l.to == to && !l.is_late);
        let link = match at {
            Some(at) => &mut self.all[at],
            None => self.open(from, life, to, alive),
        };
        assert_eq!(link.life, life, "connections end with the life that made them");
        if link.is_up {
            link.requests.push_back(request);
        }
    }

    pub(super) fn reply(&mut self, id: u64, reply: Reply) {
        if let Some(link) = self.all.iter_mut().find(|l| l.id == id && l.is_up) {
            link.replies.push_back(reply);
        }
    }

    /// Takes the next request of a connection (C2).
    pub(super) fn take_request(&mut self, at: usize) -> Option<(u64, Place, Request)> {
        let link = &mut self.all[at];
        let request = link.requests.pop_front()?;
        let (id, from, life, to) = (link.id, link.from, link.life, link.to);
        if std::mem::take(&mut link.is_fresh) {
            let before = |l: &Link| l.id < id && l.from == from && l.life == life && l.to == to;
            self.all.retain(|link| !(link.is_late && before(link)));
        }
        self.all.retain(|link| !link.is_late || !link.requests.is_empty());
        Some((id, to, request))
    }

    /// Breaks a connection; what is on the way arrives late or not at all.
    pub(super) fn cut(&mut self, at: usize, keeps_late: bool) {
        let link = &mut self.all[at];
        link.is_up = false;
        link.replies.clear();
        let (requests, is_fresh) = (std::mem::take(&mut link.requests), link.is_fresh);
        if keeps_late && !requests.is_empty() {
            let (from, life, to) = (link.from, link.life, link.to);
            let late = self.open(from, life, to, false);
            late.requests = requests;
            late.is_late = true;
            late.is_fresh = is_fresh;
        }
    }

    /// Makes a broken connection anew.
    pub(super) fn mend(&mut self, at: usize) {
        let (from, life, to) = (self.all[at].from, self.all[at].life, self.all[at].to);
        self.all.remove(at);
        self.open(from, life, to, true);
    }

    /// A process has died: what was on its way to it is lost, what it sent may still arrive.
    pub(super) fn bury(&mut self, node: sheepdog_proto::NodeId, keeps_late: bool) {
        self.all.retain(|link| !(link.is_late && link.to.node == node));
        for link in self.all.iter_mut().filter(|link| link.to.node == node) {
            link.is_up = false;
            link.requests.clear();
            link.replies.clear();
        }
        for link in self.all.iter_mut().filter(|link| link.from.node == node && !link.is_late) {
            link.is_up = false;
            link.is_late = true;
            link.replies.clear();
            if !keeps_late {
                link.requests.clear();
            }
        }
        self.all.retain(|link| !link.is_late || !link.requests.is_empty());
    }
}
