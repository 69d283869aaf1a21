//! What can happen, and to whom.

use sheepdog_engine::gateway::Place;
use sheepdog_engine::volume::{Answer, Operation, Refusal};
use sheepdog_proto::peer::{Reply, Request};
use sheepdog_proto::{Generation, Vid};

/// One client connection: who asks, and which of its connections it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Caller {
    pub(super) client: usize,
    pub(super) session: u64,
}

/// Something that happens at a moment.
#[derive(Debug)]
pub(super) enum Event {
    /// To a process. It waits while the process stands still, and is nothing once it has ended.
    Life { sheep: usize, life: u64, what: Inside },
    /// Something comes out of a connection.
    Arrives { connection: u64, message: Message },
    /// A proposal reaches the log.
    Append { proposal: u64 },
    /// A sheep's process starts.
    Start { sheep: usize },
    /// The log's patience with a session ends.
    SessionEnds { sheep: usize, life: u64 },
    /// A process that stood still goes on.
    Wake { sheep: usize, life: u64 },
    /// A client does the next thing.
    Client { client: usize },
    /// A client hears something.
    Told { caller: Caller, what: Told },
    /// Something breaks.
    Fault,
    /// It is looked what would be left if all power went off.
    Inspect,
    /// Something that was broken for a while is whole again.
    Mend { what: Broken },
}

/// What happens inside a process.
#[derive(Debug)]
pub(super) enum Inside {
    /// The Join is in the log at this index, and everything before it is applied.
    Joined {
        index: usize,
    },
    Tick,
    /// The control thread applies an entry.
    Follow {
        index: usize,
    },
    /// A shard applies an entry.
    Apply {
        shard: u16,
        index: usize,
    },
    /// The store of a shard goes on.
    Turn {
        shard: u16,
    },
    /// Something has come out of a connection.
    Arrived {
        connection: u64,
        message: Message,
    },
    /// From one shard's gateway to another shard of the same sheep.
    MailRequest {
        from: u16,
        to: u16,
        request: Request,
    },
    MailReply {
        from: u16,
        to: u16,
        reply: Reply,
    },
    /// The log's driver has answered a proposal; `None` if nobody knows what became of it.
    Appended {
        proposal: u64,
        index: Option<usize>,
    },
    /// An engine's proposal is made again.
    Retry {
        proposal: u64,
    },
    /// A shard tries to connect.
    Connect {
        shard: u16,
        place: Place,
    },
    Attach {
        caller: Caller,
        vid: Vid,
    },
    Detach {
        caller: Caller,
        vid: Vid,
    },
    /// A client that waits for another owner to let go waits no longer.
    Impatient {
        shard: u16,
        vid: Vid,
    },
    Submit {
        caller: Caller,
        number: u64,
        vid: Vid,
        operation: Operation,
    },
    /// A disk is of no use any more, and what follows from that.
    DiskFailed {
        slot: usize,
    },
    Demote,
    /// An operator asks for an orderly end.
    Leave,
    /// The process ends itself.
    Die {
        why: &'static str,
    },
}

/// What comes out of a connection.
#[derive(Debug)]
pub(super) enum Message {
    Request(Request),
    Reply(Reply),
    /// The receiving end is gone.
    Closed,
}

/// What a client hears.
#[derive(Debug)]
pub(super) enum Told {
    /// Under this generation.
    Attached(Result<Generation, Refusal>),
    Detached,
    Answer {
        number: u64,
        result: Result<Answer, Refusal>,
    },
    /// An operator's command is in the log, or was refused.
    Commanded {
        index: Option<usize>,
    },
}

/// What breaks only for a while.
#[derive(Debug)]
pub(super) enum Broken {
    /// Nothing goes from one sheep to another.
    Way { from: usize, to: usize },
    /// A sheep does not reach the log.
    LogOf { sheep: usize },
    /// There is no room on its disks.
    Full { sheep: usize },
    /// Nobody reaches the log.
    Log,
}

impl Event {
    /// For the hash of the trace.
    pub(super) fn code(&self) -> [u64; 3] {
        match self {
            Self::Life { sheep, life, what } => [what.code(), *sheep as u64, *life],
            Self::Arrives { connection, message } => match message {
                Message::Request(request) => [1, *connection, request.id],
                Message::Reply(reply) => [2, *connection, reply.id],
                Message::Closed => [3, *connection, 0],
            },
            Self::Append { proposal } => [4, *proposal, 0],
            Self::Start { sheep } => [5, *sheep as u64, 0],
            Self::SessionEnds { sheep, life } => [6, *sheep as u64, *life],
            Self::Wake { sheep, life } => [7, *sheep as u64, *life],
            Self::Client { client } => [8, *client as u64, 0],
            Self::Told { caller, what } => match what {
                Told::Attached(result) => [9, caller.session, u64::from(result.is_ok())],
                Told::Detached => [10, caller.session, 0],
                Told::Answer { number, result } => [11 + u64::from(result.is_ok()), *number, 0],
                Told::Commanded { index } => [13, caller.session, index.unwrap_or(0) as u64],
            },
            Self::Fault => [14, 0, 0],
            Self::Mend { .. } => [15, 0, 0],
            Self::Inspect => [16, 0, 0],
        }
    }
}

impl Inside {
    fn code(&self) -> u64 {
        match self {
            Self::Joined { index } | Self::Follow { index } => 100 + *index as u64,
            Self::Arrived { connection, .. } => (10 << 32) + *connection,
            Self::Tick => 20,
            Self::Apply { shard, index } => (1 << 32) + (u64::from(*shard) << 24) + *index as u64,
            Self::Turn { shard } => 30 + u64::from(*shard),
            Self::MailRequest { request, .. } => (2 << 32) + request.id,
            Self::MailReply { reply, .. } => (3 << 32) + reply.id,
            Self::Appended { proposal, .. } => (4 << 32) + *proposal,
            Self::Retry { proposal } => (5 << 32) + *proposal,
            Self::Connect { place, .. } => (6 << 32) + u64::from(place.node.0),
            Self::Attach { caller, .. } => (7 << 32) + caller.session,
            Self::Detach { caller, .. } => (8 << 32) + caller.session,
            Self::Impatient { .. } => 21,
            Self::Submit { number, .. } => (9 << 32) + *number,
            Self::Leave => 22,
            Self::DiskFailed { slot } => 24 + *slot as u64,
            Self::Demote => 29,
            Self::Die { .. } => 23,
        }
    }
}
