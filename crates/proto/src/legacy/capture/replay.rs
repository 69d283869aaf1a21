//! The replay: sends what a client sent, on connections as it used them, and compares.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};

use super::super::header::{DEFAULT_FIELDS, Field, ID, OFFSET, OID, OPCODE, REPLY_VID, VDI_SIZE};
use super::super::inode::{CREATE_TIME, MAP_END, SNAPSHOT_TIME};
use super::super::request::name_field;
use super::super::{
    Flags, HEADER_BYTES, NAME_FIELD_BYTES, OBJECT_BYTES_MAX, Opcode, RequestHeader, ResponseHeader,
    ResultCode,
};
use super::{Event, Preparation, Scenario, Table, Verdict};
use crate::{ObjectKind, Oid};

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pairs whose answers were equal.
    pub replayed: usize,
    /// Pairs whose answers differed as the table says.
    pub different: usize,
    /// Pairs that were not sent.
    pub skipped: usize,
}

/// Why a replay failed: which pair, and what was wrong with it.
#[derive(Debug)]
pub struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

/// Replays one scenario on connections made by `connect`. State that earlier scenarios leave
/// behind is needed, so they are replayed in recorded order on one cluster.
///
/// # Errors
/// [`Mismatch`] for the first answer that is not as the table says, or a broken connection.
pub fn replay<S: Read + Write>(
    scenario: &Scenario,
    table: &Table,
    connect: &mut dyn FnMut() -> io::Result<S>,
) -> Result<Tally, Mismatch> {
    let mut run = Run { scenario, open: BTreeMap::new(), sent: BTreeMap::new() };
    for preparation in table.preparations(&scenario.name) {
        run.prepare(preparation, connect)?;
    }
    let mut tally = Tally::default();
    for event in &scenario.events {
        match event {
            Event::Open(connection) => {
                let stream = connect().map_err(|error| run.fail(0, &error))?;
                run.open.insert(*connection, Peer { stream, replies: Vec::new() });
            }
            Event::Close(connection) => {
                run.open.remove(connection);
            }
            Event::Request { connection, pair, bytes } => {
                match table.verdict(&scenario.name, *pair) {
                    None => return Err(run.fail(*pair, &"has no verdict")),
                    Some(Verdict::Later(_) | Verdict::Different { code: None, .. }) => {
                        tally.skipped += 1;
                    }
                    Some(_) => run.send(*connection, *pair, bytes.as_deref())?,
                }
            }
            Event::Reply { connection, pair, bytes } => {
                if !run.sent.contains_key(pair) {
                    continue;
                }
                let ours = run.receive(*connection, *pair)?;
                match table.verdict(&scenario.name, *pair) {
                    Some(Verdict::Different { code: Some(code), .. }) => {
                        run.check_code(*pair, &ours, *code)?;
                        tally.different += 1;
                    }
                    _ => {
                        run.check_equal(*pair, bytes.as_deref(), &ours)?;
                        tally.replayed += 1;
                    }
                }
            }
        }
    }
    Ok(tally)
}

struct Peer<S> {
    stream: S,
    /// Replies read while another one was awaited.
    replies: Vec<Reply>,
}

struct Reply {
    header: ResponseHeader,
    payload: Vec<u8>,
}

struct Run<'a, S> {
    scenario: &'a Scenario,
    open: BTreeMap<u32, Peer<S>>,
    sent: BTreeMap<u16, RequestHeader>,
}

impl<S: Read + Write> Run<'_, S> {
    fn fail(&self, pair: u16, what: &dyn fmt::Display) -> Mismatch {
        let request = self.sent.get(&pair).map(|h| format!(" ({h})")).unwrap_or_default();
        Mismatch(format!("{} pair {pair}{request}: {what}", self.scenario.name))
    }

    fn prepare(
        &mut self,
        wanted: &Preparation,
        connect: &mut dyn FnMut() -> io::Result<S>,
    ) -> Result<(), Mismatch> {
        let made = connect().and_then(|mut stream| {
            let field = name_field(wanted.name.as_bytes());
            let new = RequestHeader::new(Opcode::NewVdi, Flags::WRITE, 0, field.len() as u32)
                .with(VDI_SIZE, wanted.size);
            let mut reply = ask(&mut stream, &new, &field)?;
            if reply.header.result() == ResultCode::VdiExists.get() {
                let field = [field, [0; NAME_FIELD_BYTES]].concat();
                let info =
                    RequestHeader::new(Opcode::GetVdiInfo, Flags::WRITE, 0, field.len() as u32);
                reply = ask(&mut stream, &info, &field)?;
            }
            let vid = reply.header.get(REPLY_VID);
            for index in 0..u64::from(wanted.objects) {
                let data = [1; 512];
                let create = RequestHeader::new(
                    Opcode::CreateAndWriteObject,
                    Flags::WRITE,
                    0,
                    data.len() as u32,
                );
                reply = ask(&mut stream, &create.with(OID, vid << 32 | index), &data)?;
            }
            Ok(reply.header)
        });
        match made {
            Ok(header) if header.result() == ResultCode::Success.get() => Ok(()),
            Ok(header) => Err(self.fail(0, &format!("preparing {}: {header}", wanted.name))),
            Err(error) => Err(self.fail(0, &error)),
        }
    }

    fn send(&mut self, connection: u32, pair: u16, bytes: Option<&[u8]>) -> Result<(), Mismatch> {
        let Some(bytes) = bytes else { return Err(self.fail(pair, &"was not kept")) };
        let header = RequestHeader::parse(bytes).map_err(|error| self.fail(pair, &error))?;
        self.sent.insert(pair, header);
        let Some(peer) = self.open.get_mut(&connection) else {
            return Err(self.fail(pair, &"its connection is not open"));
        };
        peer.stream.write_all(bytes).map_err(|error| self.fail(pair, &error))
    }

    /// The reply to `pair`. Replies may come in any order and are told apart by opcode and id.
    fn receive(&mut self, connection: u32, pair: u16) -> Result<Reply, Mismatch> {
        let wanted = self.sent[&pair];
        let answers = |reply: &Reply| {
            reply.header.get(OPCODE) == wanted.get(OPCODE) && reply.header.get(ID) == wanted.get(ID)
        };
        let Some(peer) = self.open.get_mut(&connection) else {
            return Err(self.fail(pair, &"its connection is not open"));
        };
        loop {
            if let Some(position) = peer.replies.iter().position(answers) {
                return Ok(peer.replies.remove(position));
            }
            match read_reply(&mut peer.stream) {
                Ok(reply) => peer.replies.push(reply),
                Err(error) => return Err(self.fail(pair, &error)),
            }
        }
    }

    fn check_code(&self, pair: u16, ours: &Reply, code: u32) -> Result<(), Mismatch> {
        let wanted = if code == 0 { self.sent[&pair].reply_bytes() } else { 0 };
        if ours.header.result() == code && ours.header.data_length() == wanted {
            return Ok(());
        }
        Err(self.fail(pair, &format!("expected code {code:#x}, ours: {}", ours.header)))
    }

    fn check_equal(
        &self,
        pair: u16,
        recorded: Option<&[u8]>,
        ours: &Reply,
    ) -> Result<(), Mismatch> {
        let recorded = recorded.ok_or_else(|| self.fail(pair, &"its reply was not kept"))?;
        let header = ResponseHeader::parse(recorded).map_err(|error| self.fail(pair, &error))?;
        let request = &self.sent[&pair];
        let success = header.result() == ResultCode::Success.get();
        let same = |field: Field| header.get(field) == ours.header.get(field);
        let fields_equal =
            header.result() == ours.header.result()
                && header.data_length() == ours.header.data_length()
                && match request.opcode() {
                    Some(
                        Opcode::NewVdi | Opcode::LockVdi | Opcode::GetVdiInfo | Opcode::DeleteVdi,
                    ) if success => same(REPLY_VID),
                    Some(Opcode::GetClusterDefault) if success => {
                        DEFAULT_FIELDS.iter().all(|field| same(*field))
                    }
                    _ => true,
                };
        if !fields_equal {
            return Err(self.fail(pair, &format!("recorded {header}, ours {}", ours.header)));
        }
        let mut recorded = recorded[HEADER_BYTES..].to_vec();
        let mut payload = ours.payload.clone();
        mask(request, &mut recorded);
        mask(request, &mut payload);
        if recorded == payload {
            return Ok(());
        }
        let at = recorded.iter().zip(&payload).position(|(a, b)| a != b).unwrap_or(payload.len());
        let byte = |bytes: &[u8]| bytes.get(at).copied();
        let (theirs, ours) = (byte(&recorded), byte(&payload));
        let what = format!("byte {at} of the payload is {ours:#x?}, recorded {theirs:#x?}");
        Err(self.fail(pair, &what))
    }
}

/// Zeroes what is not compared: the two times and the reference counts of an inode.
fn mask(request: &RequestHeader, payload: &mut [u8]) {
    let inode = Oid::from_wire(request.get(OID)).is_some_and(|oid| oid.kind() == ObjectKind::Map);
    if request.opcode() != Some(Opcode::ReadObject) || !inode {
        return;
    }
    let offset = request.get(OFFSET) as usize;
    let times = CREATE_TIME.offset..SNAPSHOT_TIME.offset + SNAPSHOT_TIME.bytes;
    for masked in [times, MAP_END as usize..usize::MAX] {
        let inside = |at: usize| at.saturating_sub(offset).min(payload.len());
        let (start, end) = (inside(masked.start), inside(masked.end));
        payload[start..end].fill(0);
    }
}

fn ask(
    stream: &mut (impl Read + Write),
    request: &RequestHeader,
    payload: &[u8],
) -> io::Result<Reply> {
    stream.write_all(&[request.0.as_slice(), payload].concat())?;
    read_reply(stream)
}

fn read_reply(stream: &mut impl Read) -> io::Result<Reply> {
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes)?;
    let header = ResponseHeader(bytes);
    if header.data_length() > OBJECT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("too long: {header}")));
    }
    let mut payload = vec![0; header.data_length() as usize];
    stream.read_exact(&mut payload)?;
    Ok(Reply { header, payload })
}
