//! Openers: which clients of this sheep have which VDI open.
//!
//! Why: one VM writes a VDI at a time. The legacy protocol locks on a connection that it closes at
//!      once, and its data connection may stay silent for days, so a lock cannot belong to a
//!      socket: it lives as long as any connection that belongs to the client lives.
//! Holds:
//!   O1 a second open of a VDI is refused while a connection of the first client lives;
//!   O2 a VDI none of whose clients has had a connection for the grace time is given up;
//!   O3 a silent connection of the same client, open at the time of the lock, counts as living;
//!   O4 a client from whom a VDI was taken does not get it again by going on: it must open it anew,
//!      and cannot for a while;
//!   O5 while a VDI is being taken from its client nobody opens it.
//! Not here: ownership between sheep (the attachment in the coordination log).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sheepdog_proto::Vid;
use tokio::sync::Notify;

use crate::door::Face;

/// Where a connection comes from, as far as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A unix socket: the client's process id.
    Process(u32),
    /// TCP: the client's address.
    Host(IpAddr),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "process {pid}"),
            Self::Host(address) => write!(f, "{address}"),
        }
    }
}

/// How long a client from whom a VDI was taken cannot open it: longer than clients that connect
/// again by themselves pause between two attempts.
const BAR: Duration = Duration::from_secs(30);

/// Who may open a VDI that is open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody while a connection of the first lives.
    Exclusive,
    /// Further connections of the very same origin and face: one client with several of them.
    SameOrigin,
}

/// The VDI is open, or was taken from the very client that wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Through which protocol.
    pub face: Face,
    /// By whom.
    pub origin: Origin,
    /// Since when.
    pub since: Instant,
    /// It was taken away then (O4).
    pub is_barred: bool,
}

#[derive(Debug)]
struct Connection {
    face: Face,
    origin: Origin,
    vids: BTreeSet<Vid>,
    end: Arc<Notify>,
}

#[derive(Debug)]
struct Opened {
    by: Busy,
    /// Silent connections of the opener: one of them will carry its data (O3).
    candidates: BTreeSet<u64>,
    idle_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    connections: BTreeMap<u64, Connection>,
    opened: BTreeMap<Vid, Opened>,
    /// From whom it was taken, as long as they have not opened it since (O4).
    barred: BTreeMap<Vid, Vec<Busy>>,
    /// Being taken from their clients, and how often at the same time (O5).
    closing: BTreeMap<Vid, (u32, Busy)>,
}

/// The table of one sheep, shared by its shards. Touched at open and close, never per request.
#[derive(Debug, Default)]
pub struct Openers {
    table: Mutex<Table>,
}

impl Openers {
    /// A new connection; remember the number and give it to every later call.
    pub fn connect(&self, face: Face, origin: Origin) -> u64 {
        let mut table = self.lock();
        table.next += 1;
        let number = table.next;
        let (vids, end) = (BTreeSet::new(), Arc::default());
        table.connections.insert(number, Connection { face, origin, vids, end });
        number
    }

    /// Is told when the connection must end, because its VDI was taken from it. It is to be
    /// waited for by one only.
    pub fn end_of(&self, connection: u64) -> Arc<Notify> {
        let table = self.lock();
        table.connections.get(&connection).map(|known| known.end.clone()).unwrap_or_default()
    }

    /// The connection has ended.
    pub fn disconnect(&self, connection: u64, now: Instant) {
        let mut table = self.lock();
        table.connections.remove(&connection);
        table.settle(now);
    }

    /// The connection carries requests for `vid` (the first time; repeating it does no harm).
    pub fn touch(&self, connection: u64, vid: Vid, now: Instant) {
        self.lock().touch(connection, vid, now);
    }

    /// As `touch`, for a client that goes on with a VDI that it may not have open any more.
    ///
    /// # Errors
    /// [`Busy`] if it was taken from this client (O4).
    pub fn go_on(&self, connection: u64, vid: Vid, now: Instant) -> Result<(), Busy> {
        let mut table = self.lock();
        if let Some((_, by)) = table.closing.get(&vid) {
            return Err(*by); // O5
        }
        let client = table.connections.get(&connection).map(|known| (known.face, known.origin));
        let mut barred = table.barred.get(&vid).into_iter().flatten();
        if let Some(by) = barred.find(|by| Some((by.face, by.origin)) == client) {
            return Err(*by);
        }
        table.touch(connection, vid, now); // under the same lock: nobody expels it in between
        Ok(())
    }

    /// Opens `vid` for the client behind `connection`.
    ///
    /// # Errors
    /// [`Busy`] if another client lives (O1).
    pub fn open(
        &self,
        connection: u64,
        vid: Vid,
        sharing: Sharing,
        now: Instant,
    ) -> Result<(), Busy> {
        let mut table = self.lock();
        let silent = table.silent_beside(connection);
        table.open(connection, vid, sharing, silent, now)
    }

    /// Opens `vid` and makes this very connection the one that carries its requests, in one
    /// step, so that nobody comes between. Silent connections do not count here.
    ///
    /// # Errors
    /// [`Busy`] if another client lives (O1).
    pub fn open_here(
        &self,
        connection: u64,
        vid: Vid,
        sharing: Sharing,
        now: Instant,
    ) -> Result<(), Busy> {
        let mut table = self.lock();
        table.open(connection, vid, sharing, BTreeSet::new(), now)?;
        if let Some(known) = table.connections.get_mut(&connection) {
            known.vids.insert(vid);
        }
        table.settle(now);
        Ok(())
    }

    /// This connection is done with `vid`. True if it was the last one: the VDI is then
    /// forgotten here, in the same step, and its attachment can be given up.
    pub fn close(&self, connection: u64, vid: Vid, now: Instant) -> bool {
        let mut table = self.lock();
        if let Some(known) = table.connections.get_mut(&connection) {
            known.vids.remove(&vid);
        }
        if let Some(opened) = table.opened.get_mut(&vid) {
            opened.candidates.remove(&connection);
        }
        let last = !table.is_live(vid, None);
        if last {
            table.opened.remove(&vid);
        }
        table.settle(now);
        last
    }

    /// The client says that it is done with `vid`. True if it was open.
    pub fn release(&self, vid: Vid) -> bool {
        let mut table = self.lock();
        for connection in table.connections.values_mut() {
            connection.vids.remove(&vid);
        }
        table.opened.remove(&vid).is_some()
    }

    /// As `release`, for the client behind a connection. False if another one has it open: that
    /// keeps it. Somebody from whom it was taken says good-bye, too.
    pub fn release_own(&self, connection: u64, vid: Vid) -> bool {
        let mut table = self.lock();
        let client = table.connections.get(&connection).map(|known| (known.face, known.origin));
        for known in table.connections.values_mut() {
            if Some((known.face, known.origin)) == client {
                known.vids.remove(&vid);
            }
        }
        let is_own = |opened: &Opened| Some((opened.by.face, opened.by.origin)) == client;
        if table.opened.get(&vid).is_some_and(is_own) || !table.is_live(vid, None) {
            table.opened.remove(&vid);
            return true;
        }
        false
    }

    /// Takes `vid` from whoever has it open: their connections are told to end. Which they are.
    /// Nobody opens it before [`Openers::end_expel`] (O5).
    pub fn expel(&self, vid: Vid, now: Instant) -> Vec<u64> {
        let mut table = self.lock();
        let opened = table.opened.remove(&vid);
        let candidates = opened.as_ref().map(|opened| opened.candidates.clone());
        let mut barred: Vec<Busy> = opened.map(|opened| opened.by).into_iter().collect();
        let mut expelled = Vec::new();
        for (number, connection) in &mut table.connections {
            let is_silent = connection.vids.is_empty();
            let is_candidate = candidates.as_ref().is_some_and(|all| all.contains(number));
            if connection.vids.remove(&vid) || (is_silent && is_candidate) {
                connection.end.notify_one();
                barred.push(Busy::new(connection, now));
                expelled.push(*number);
            }
        }
        let nobody =
            Busy { face: Face::Admin, origin: Origin::Process(0), since: now, is_barred: true };
        let mut by = nobody;
        for client in barred {
            by = Busy { since: now, is_barred: true, ..client };
            table.forgive(vid, (by.face, by.origin)); // each client once
            table.barred.entry(vid).or_default().push(by);
        }
        table.closing.entry(vid).or_insert((0, by)).0 += 1;
        expelled
    }

    /// It has been taken from them.
    pub fn end_expel(&self, vid: Vid) {
        let mut table = self.lock();
        if let Some((count, _)) = table.closing.get_mut(&vid) {
            *count -= 1;
            if *count == 0 {
                table.closing.remove(&vid);
            }
        }
    }

    /// Whether one of these connections has not ended yet.
    pub fn any_lives(&self, connections: &[u64]) -> bool {
        let table = self.lock();
        connections.iter().any(|number| table.connections.contains_key(number))
    }

    /// Who has `vid` open with a living connection.
    pub fn holder(&self, vid: Vid) -> Option<Busy> {
        let table = self.lock();
        table.opened.get(&vid).filter(|_| table.is_live(vid, None)).map(|opened| opened.by)
    }

    /// Some client has or had `vid` open, and it was not given up yet.
    pub fn is_known(&self, vid: Vid) -> bool {
        self.lock().opened.contains_key(&vid)
    }

    /// VDIs without a living connection for `grace`: they are given up (O2) and forgotten here.
    pub fn take_idle(&self, now: Instant, grace: Duration) -> Vec<Vid> {
        let mut table = self.lock();
        let idle = |opened: &Opened| {
            opened.idle_since.is_some_and(|since| now.saturating_duration_since(since) >= grace)
        };
        let vids: Vec<Vid> =
            table.opened.iter().filter(|(_, o)| idle(o)).map(|(vid, _)| *vid).collect();
        for vid in &vids {
            table.opened.remove(vid);
        }
        vids
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change leaves the table whole, so a panic elsewhere does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    const fn new(by: &Connection, since: Instant) -> Self {
        Self { face: by.face, origin: by.origin, since, is_barred: false }
    }
}

impl Opened {
    const fn new(by: Busy) -> Self {
        Self { by, candidates: BTreeSet::new(), idle_since: None }
    }
}

impl Table {
    fn open(
        &mut self,
        connection: u64,
        vid: Vid,
        sharing: Sharing,
        silent: BTreeSet<u64>,
        now: Instant,
    ) -> Result<(), Busy> {
        let Some(asking) = self.connections.get(&connection) else { return Ok(()) };
        let (face, origin) = (asking.face, asking.origin);
        if let Some((_, by)) = self.closing.get(&vid) {
            return Err(*by); // O5
        }
        let is_barred = |by: &&Busy| {
            let lasts = now.saturating_duration_since(by.since) < BAR;
            lasts && (by.face, by.origin) == (face, origin)
        };
        let mut barred = self.barred.get(&vid).into_iter().flatten();
        if let Some(by) = barred.find(is_barred) {
            return Err(*by); // O4
        }
        let live = self.is_live(vid, Some(connection));
        if let Some(opened) = self.opened.get_mut(&vid).filter(|_| live) {
            let same = opened.by.face == face && opened.by.origin == origin;
            if sharing == Sharing::Exclusive || !same {
                return Err(opened.by);
            }
            opened.candidates.extend(silent);
            return Ok(());
        }
        let mut opened = Opened::new(Busy { face, origin, since: now, is_barred: false });
        opened.candidates = silent;
        self.forgive(vid, (face, origin));
        self.opened.insert(vid, opened);
        self.settle(now);
        Ok(())
    }

    fn touch(&mut self, connection: u64, vid: Vid, now: Instant) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.vids.insert(vid);
        let by = Busy::new(known, now);
        self.opened.entry(vid).or_insert_with(|| Opened::new(by));
        self.settle(now);
    }

    /// It has opened the VDI anew.
    fn forgive(&mut self, vid: Vid, client: (Face, Origin)) {
        if let Some(barred) = self.barred.get_mut(&vid) {
            barred.retain(|by| (by.face, by.origin) != client);
            if barred.is_empty() {
                self.barred.remove(&vid);
            }
        }
    }

    /// Connections of the same client that have carried nothing yet.
    fn silent_beside(&self, connection: u64) -> BTreeSet<u64> {
        let Some(asking) = self.connections.get(&connection) else { return BTreeSet::new() };
        let alike = |c: &Connection| {
            c.face == asking.face && c.origin == asking.origin && c.vids.is_empty()
        };
        let others = self.connections.iter().filter(|(number, _)| **number != connection);
        others.filter(|(_, c)| alike(c)).map(|(number, _)| *number).collect()
    }

    fn is_live(&self, vid: Vid, except: Option<u64>) -> bool {
        let candidates = self.opened.get(&vid).map(|opened| &opened.candidates);
        self.connections.iter().any(|(number, connection)| {
            let silent = connection.vids.is_empty()
                && candidates.is_some_and(|candidates| candidates.contains(number));
            Some(*number) != except && (connection.vids.contains(&vid) || silent)
        })
    }

    /// Notes since when each VDI has been without a living connection.
    fn settle(&mut self, now: Instant) {
        let vids: Vec<Vid> = self.opened.keys().copied().collect();
        for vid in vids {
            let live = self.is_live(vid, None);
            if let Some(opened) = self.opened.get_mut(&vid) {
                opened.idle_since = if live { None } else { opened.idle_since.or(Some(now)) };
            }
        }
    }
}

#[cfg(test)]
#[path = "opener/tests.rs"]
mod tests;
