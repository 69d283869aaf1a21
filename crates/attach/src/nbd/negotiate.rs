//! Negotiation: from the greeting to an open export, or to the end.
//!
//! Way: `greet` on the shard that accepted; then options, one by one. `GO` or `EXPORT_NAME` of a
//!      VDI of another shard ends the negotiation here with the option still unread; that shard
//!      reads it again and finds the VDI its own.
//! Holds:
//!   G1 a client that breaks the protocol is answered with the protocol's error or cut off;
//!   G2 `LIST`, `INFO` and the contexts open nothing.

use std::io::{self, IoSliceMut};

use super::export::{
    BLOCK_BYTES_MIN, BLOCK_BYTES_PREFERRED, Export, PAYLOAD_BYTES_MAX, Presence, flags,
};
use super::option::{
    self, Contexts, Inquiry, Malformed, info, number, put_error, put_reply, reply,
};
use super::refusal::Denied;
use super::stream::Stream;
use crate::door::Door;
use sheepdog_proto::Vid;

/// Bytes taken from the socket at a time.
const READ_BYTES: usize = 4096;
/// Replies are sent when this many bytes have come together.
const REPLY_BYTES: usize = 64 << 10;
/// Zeros after the answer to `EXPORT_NAME`, for clients that did not decline them.
const PADDING: [u8; 124] = [0; 124];

/// What client and server have agreed on so far.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) no_zeroes: bool,
    pub(super) structured: bool,
    /// The export for which `base:allocation` was selected.
    pub(super) context: Option<String>,
}

/// How a negotiation ends.
#[derive(Debug)]
pub(super) enum End {
    /// The export is open and the client knows.
    Transmit(Export),
    /// This shard must go on; the option is unread.
    HandOver(usize),
    /// The client asked for the end.
    Close,
}

/// A connection between its greeting and its export.
pub(super) struct Negotiation<D: Door> {
    pub(super) door: D,
    pub(super) stream: Stream,
    pub(super) presence: Presence<D>,
    pub(super) unread: Vec<u8>,
    pub(super) terms: Terms,
}

/// What an export is, as far as anybody may know.
struct Found {
    vid: Vid,
    name: String,
    size: u64,
    object_bytes: u64,
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed.0)
    }
}

impl<D: Door> Negotiation<D> {
    /// The first exchange.
    pub(super) async fn greet(&mut self) -> io::Result<()> {
        self.stream.write_all(&option::greeting()).await?;
        self.need(4).await?;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.unread[..4]);
        self.terms.no_zeroes = option::client_flags(bytes)?;
        self.unread.drain(..4);
        Ok(())
    }

    /// Answers options until one of them ends the negotiation.
    pub(super) async fn run(&mut self) -> io::Result<End> {
        loop {
            self.need(option::HEADER_BYTES).await?;
            let Some(header) = self.unread.first_chunk() else { continue };
            let (number, len) = option::header(header)?;
            let len = len as usize;
            if len > option::DATA_BYTES_MAX {
                let text = "the option is longer than 65536 bytes";
                self.refuse(number, reply::ERR_TOO_BIG, text).await?;
                return Err(Malformed(text).into()); // G1: it is not read to its end.
            }
            let whole = option::HEADER_BYTES + len;
            self.need(whole).await?;
            let data = self.unread[option::HEADER_BYTES..whole].to_vec();
            let end = self.answer(number, &data).await?;
            if !matches!(end, Some(End::HandOver(_))) {
                self.unread.drain(..whole);
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    async fn answer(&mut self, number: u32, data: &[u8]) -> io::Result<Option<End>> {
        match number {
            number::EXPORT_NAME => return self.export_name(data).await,
            number::GO => return self.go(data).await,
            number::ABORT => {
                self.accept(number).await?;
                return Ok(Some(End::Close));
            }
            number::LIST if data.is_empty() => self.list().await?,
            number::STRUCTURED_REPLY if data.is_empty() => {
                self.terms.structured = true;
                self.accept(number).await?;
            }
            number::LIST | number::STRUCTURED_REPLY => {
                self.refuse(number, reply::ERR_INVALID, "this option has no data").await?;
            }
            number::INFO => self.inform(data).await?,
            number::LIST_META_CONTEXT | number::SET_META_CONTEXT => {
                self.contexts(number, data).await?;
            }
            _ => self.refuse(number, reply::ERR_UNSUP, "this option is not supported").await?,
        }
        Ok(None)
    }

    /// The old way in: it knows no refusal but the end of the connection.
    async fn export_name(&mut self, name: &[u8]) -> io::Result<Option<End>> {
        let refused = |denied: Denied| io::Error::new(io::ErrorKind::NotFound, denied.text);
        let Some(found) = self.find(name) else { return Err(refused(Denied::unknown(name))) };
        let shard = self.door.shard_of(found.vid);
        if shard != self.door.shard() {
            return Ok(Some(End::HandOver(shard)));
        }
        let export = self.open(&found).await?.map_err(refused)?;
        let mut bytes = export.size.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.flags().to_be_bytes());
        if !self.terms.no_zeroes {
            bytes.extend_from_slice(&PADDING);
        }
        self.stream.write_all(&bytes).await?;
        Ok(Some(End::Transmit(export)))
    }

    async fn go(&mut self, data: &[u8]) -> io::Result<Option<End>> {
        let number = number::GO;
        let inquiry = match Inquiry::parse(data) {
            Ok(inquiry) => inquiry,
            Err(Malformed(text)) => {
                self.refuse(number, reply::ERR_INVALID, text).await?;
                return Ok(None);
            }
        };
        let denied = match self.find(inquiry.name) {
            None => Denied::unknown(inquiry.name),
            Some(found) => {
                let shard = self.door.shard_of(found.vid);
                if shard != self.door.shard() {
                    return Ok(Some(End::HandOver(shard)));
                }
                match self.open(&found).await? {
                    Ok(export) => {
                        let opened = Found { size: export.size, ..found };
                        self.describe(number, &opened, &inquiry.infos).await?;
                        return Ok(Some(End::Transmit(export)));
                    }
                    Err(denied) => denied,
                }
            }
        };
        self.refuse(number, denied.kind, &denied.text).await?;
        Ok(None)
    }

    /// Opens an export of this shard, unless the client goes away meanwhile.
    async fn open(&self, found: &Found) -> io::Result<Result<Export, Denied>> {
        let size = tokio::select! {
            size = self.presence.open(found.vid, &found.name, self.stream.sharing()) => size,
            () = self.stream.gone() => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let structured = self.terms.structured;
        let selected = self.terms.context.as_deref() == Some(&found.name);
        let allocation = structured && selected;
        Ok(size.map(|size| Export { vid: found.vid, size, structured, allocation }))
    }

    async fn inform(&self, data: &[u8]) -> io::Result<()> {
        let number = number::INFO;
        let inquiry = match Inquiry::parse(data) {
            Ok(inquiry) => inquiry,
            Err(Malformed(text)) => return self.refuse(number, reply::ERR_INVALID, text).await,
        };
        match self.find(inquiry.name) {
            Some(found) => self.describe(number, &found, &inquiry.infos).await,
            None => {
                let denied = Denied::unknown(inquiry.name);
                self.refuse(number, denied.kind, &denied.text).await
            }
        }
    }

    async fn describe(&self, number: u32, found: &Found, infos: &[u16]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut put = |kind: u16, data: &[&[u8]]| {
            let kind = kind.to_be_bytes();
            let data: Vec<&[u8]> = [&kind[..]].into_iter().chain(data.iter().copied()).collect();
            put_reply(&mut bytes, number, reply::INFO, &data);
        };
        put(info::EXPORT, &[&found.size.to_be_bytes(), &self.flags().to_be_bytes()]);
        if infos.contains(&info::NAME) {
            put(info::NAME, &[found.name.as_bytes()]);
        }
        if infos.contains(&info::DESCRIPTION) {
            let mebibytes = found.object_bytes >> 20;
            let text = format!("Sheepdog VDI {}, {mebibytes} MiB objects", found.vid);
            put(info::DESCRIPTION, &[text.as_bytes()]);
        }
        if infos.contains(&info::BLOCK_SIZE) {
            let sizes = [BLOCK_BYTES_MIN, BLOCK_BYTES_PREFERRED, PAYLOAD_BYTES_MAX];
            put(info::BLOCK_SIZE, &sizes.map(u32::to_be_bytes).each_ref().map(|size| &size[..]));
        }
        put_reply(&mut bytes, number, reply::ACK, &[]);
        self.stream.write_all(&bytes).await
    }

    async fn list(&self) -> io::Result<()> {
        let state = self.door.state();
        let working = state.catalogue.iter().filter(|vdi| vdi.snapshot_ns == 0);
        let mut names: Vec<&str> = working.map(|vdi| vdi.name.as_str()).collect();
        names.sort_unstable();
        let mut bytes = Vec::new();
        for name in names {
            let len = (name.len() as u32).to_be_bytes();
            put_reply(&mut bytes, number::LIST, reply::SERVER, &[&len, name.as_bytes()]);
            if bytes.len() >= REPLY_BYTES {
                self.stream.write_all(&bytes).await?;
                bytes.clear();
            }
        }
        put_reply(&mut bytes, number::LIST, reply::ACK, &[]);
        self.stream.write_all(&bytes).await
    }

    async fn contexts(&mut self, number: u32, data: &[u8]) -> io::Result<()> {
        let contexts = match Contexts::parse(data) {
            Ok(contexts) => contexts,
            Err(Malformed(text)) => return self.refuse(number, reply::ERR_INVALID, text).await,
        };
        if !self.terms.structured {
            let text = "structured replies must be agreed on first";
            return self.refuse(number, reply::ERR_INVALID, text).await;
        }
        let set = number == number::SET_META_CONTEXT;
        if set {
            self.terms.context = None;
        }
        let Some(found) = self.find(contexts.name) else {
            let denied = Denied::unknown(contexts.name);
            return self.refuse(number, denied.kind, &denied.text).await;
        };
        let chosen = if set { contexts.sets_allocation() } else { contexts.lists_allocation() };
        let mut bytes = Vec::new();
        if chosen {
            let id = if set { option::ALLOCATION_ID } else { 0 };
            let data = [&id.to_be_bytes()[..], option::ALLOCATION.as_bytes()];
            put_reply(&mut bytes, number, reply::META_CONTEXT, &data);
        }
        if chosen && set {
            self.terms.context = Some(found.name);
        }
        put_reply(&mut bytes, number, reply::ACK, &[]);
        self.stream.write_all(&bytes).await
    }

    fn find(&self, name: &[u8]) -> Option<Found> {
        let state = self.door.state();
        let vdi = state.catalogue.find(std::str::from_utf8(name).ok()?)?;
        let (vid, size, object_bytes) = (vdi.vid, vdi.size, vdi.object_bytes());
        Some(Found { vid, name: vdi.name.clone(), size, object_bytes })
    }

    fn flags(&self) -> u16 {
        flags(self.terms.structured, self.stream.sharing())
    }

    async fn accept(&self, number: u32) -> io::Result<()> {
        let mut bytes = Vec::new();
        put_reply(&mut bytes, number, reply::ACK, &[]);
        self.stream.write_all(&bytes).await
    }

    async fn refuse(&self, number: u32, kind: u32, text: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        put_error(&mut bytes, number, kind, text);
        self.stream.write_all(&bytes).await
    }

    /// Reads until `count` bytes are there.
    async fn need(&mut self, count: usize) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        while self.unread.len() < count {
            let read = self.stream.read(&mut [IoSliceMut::new(&mut bytes)]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&bytes[..read]);
        }
        Ok(())
    }
}
