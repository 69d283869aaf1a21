//! Control requests: VDIs made and deleted, locks taken and released.
//!
//! Way: each runs in a task of its own, because a client often closes its connection at once.
//! Holds:
//!   V1 a lock is granted only when the openers and the cluster both say that nobody else lives;
//!   V2 a deleted VDI is detached first, and gone for every client when the answer is sent.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sheepdog_engine::state::{ClusterState, Outcome, Vdi};
use sheepdog_proto::Vid;
use sheepdog_proto::command::{Command, Copies};
use sheepdog_proto::legacy::request::{LockType, Lookup, NewVdi};
use sheepdog_proto::legacy::{Response, ResultCode};

use super::Shard;
use super::code::Failure;
use super::connection::{Connection, Ticket};
use super::lookup;
use super::plan::Control;
use super::queue::Work;
use crate::door::Door;
use crate::opener::Sharing;

/// How often and how long a lock waits for other shards to notice that the holder has closed.
const LOCK_TRIES: u32 = 4;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Carries out one control request and answers it.
pub(super) async fn control<D: Door>(shard: Rc<Shard<D>>, ticket: Ticket, request: Control) {
    let connection = ticket.connection.clone();
    let end = match request {
        Control::New(new) => new_vdi(&shard, new).await,
        Control::Lock(lookup, lock_type) => lock(&shard, &connection, &lookup, lock_type).await,
        Control::Delete(lookup) => delete(&shard, &connection, &lookup).await,
        Control::Release(vid) => {
            if shard.door.openers().release_own(connection.number, vid) {
                shard.queue(vid).detach().await;
            }
            Ok(Response::DONE)
        }
    };
    match end {
        Ok(response) => ticket.answer(response),
        Err(code) => ticket.refuse(code),
    }
}

/// Makes a VDI larger, then goes on with what else the client wrote into the inode.
pub(super) async fn resize<D: Door>(
    shard: Rc<Shard<D>>,
    ticket: Ticket,
    vid: Vid,
    size: u64,
    then: Option<Work>,
) {
    match shard.door.command(Command::ResizeVdi { vid, size }).await {
        Err(error) => ticket.refuse(Failure::from(error).code()),
        Ok(_) => match then {
            None => ticket.answer(Response::DONE),
            Some(work) => shard.queue(vid).push(ticket, work),
        },
    }
}

async fn new_vdi<D: Door>(shard: &Shard<D>, new: NewVdi) -> Result<Response, ResultCode> {
    let name = new.name.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or(ResultCode::InvalidParameters)?;
    let state = shard.door.state();
    let working = state.catalogue.find(name);
    if new.snapshot || new.base != 0 {
        return Err(derived(&new, working, |vid| state.catalogue.get(vid).is_some()));
    }
    let coded = new.copies != 0 && new.copy_policy != 0;
    if coded || new.store_policy != 0 {
        tracing::info!(name, "erasure coding and hypervolumes are not supported");
        return Err(ResultCode::InvalidParameters);
    }
    let command = Command::CreateVdi {
        name: name.to_owned(),
        size: new.size,
        copies: (new.copies != 0).then_some(Copies::Exactly(new.copies)),
        object_shift: (new.object_shift != 0).then_some(new.object_shift),
        time_ns: now_ns(),
    };
    match shard.door.command(command).await {
        Ok(Outcome::Created(vid)) => {
            let state = shard.door.state();
            let vdi = state.catalogue.get(vid).ok_or(ResultCode::NoVdi)?;
            Ok(lookup::about(&state, vdi, ResultCode::Success))
        }
        Ok(_) => Err(ResultCode::SystemError),
        Err(error) => Err(Failure::from(error).code()),
    }
}

/// Why a snapshot or a clone is refused.
fn derived(new: &NewVdi, working: Option<&Vdi>, exists: impl Fn(Vid) -> bool) -> ResultCode {
    match working {
        None if new.snapshot => ResultCode::NoVdi,
        Some(_) if !new.snapshot => ResultCode::VdiExists,
        _ if !Vid::new(new.base).is_some_and(exists) => ResultCode::BaseVdiRead,
        _ => {
            tracing::info!(name = new.name, "snapshots and clones are not supported");
            ResultCode::InvalidParameters
        }
    }
}

/// The VDI that is meant, if its shard is this one: it was when the request was routed, but another
/// one may have been made under that name since.
fn find_here<'a, D: Door>(
    shard: &Shard<D>,
    state: &'a ClusterState,
    lookup: &Lookup,
) -> Result<&'a Vdi, ResultCode> {
    let vdi = lookup::find(state, lookup)?;
    let here = shard.door.shard_of(vdi.vid) == shard.door.shard();
    if here { Ok(vdi) } else { Err(ResultCode::NoVdi) }
}

async fn lock<D: Door>(
    shard: &Rc<Shard<D>>,
    connection: &Rc<Connection>,
    lookup: &Lookup,
    lock_type: LockType,
) -> Result<Response, ResultCode> {
    let state = shard.door.state();
    let vdi = find_here(shard, &state, lookup)?;
    let refused = lookup::about(&state, vdi, ResultCode::VdiLocked);
    let sharing = match lock_type {
        LockType::Normal => Sharing::Exclusive,
        LockType::Shared => Sharing::SameOrigin,
        LockType::Unknown => return Ok(refused),
    };
    if !open(shard, connection, vdi.vid, sharing).await {
        return Ok(refused);
    }
    match shard.queue(vdi.vid).attach().await {
        Ok(()) => Ok(lookup::about(&state, vdi, ResultCode::Success)),
        Err(refusal) => {
            shard.door.openers().release(vdi.vid);
            match Failure::from(refusal).code() {
                ResultCode::VdiLocked => Ok(refused),
                code => Err(code),
            }
        }
    }
}

/// Opens `vid` for this client, or finds that another one lives (V1).
async fn open<D: Door>(
    shard: &Shard<D>,
    connection: &Connection,
    vid: Vid,
    sharing: Sharing,
) -> bool {
    let openers = shard.door.openers();
    for attempt in 0..=LOCK_TRIES {
        if connection.is_gone() {
            return false;
        }
        match openers.open(connection.number, vid, sharing, Instant::now()) {
            Ok(()) => return true,
            Err(busy) => tracing::debug!(%vid, by = %busy.origin, "the VDI is open"),
        }
        match attempt {
            0 => shard.disconnect_closed(),
            LOCK_TRIES => break,
            _ => tokio::time::sleep(LOCK_PAUSE).await,
        }
    }
    false
}

async fn release<D: Door>(shard: &Rc<Shard<D>>, vid: Vid) {
    shard.door.openers().release(vid);
    shard.queue(vid).detach().await;
}

async fn delete<D: Door>(
    shard: &Rc<Shard<D>>,
    connection: &Rc<Connection>,
    lookup: &Lookup,
) -> Result<Response, ResultCode> {
    let state = shard.door.state();
    let vdi = find_here(shard, &state, lookup)?;
    if !open(shard, connection, vdi.vid, Sharing::Exclusive).await {
        return Err(ResultCode::VdiLocked);
    }
    release(shard, vdi.vid).await;
    match shard.door.command(Command::DeleteVdi { vid: vdi.vid }).await {
        Ok(_) => Ok(lookup::about(&state, vdi, ResultCode::Success)), // V2
        Err(error) => Err(Failure::from(error).code()),
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
