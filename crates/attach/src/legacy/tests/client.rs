//! A client as the tests need it: requests out, replies in, on one connection.

use std::os::unix::net::UnixStream as StdUnixStream;

use sheepdog_proto::legacy::header::{
    BASE_VID, Field, ID, LOCK_TYPE, OFFSET, OID, SNAP_ID, VDI_SIZE, VERSION,
};
use sheepdog_proto::legacy::request::name_field;
use sheepdog_proto::legacy::{
    Flags, HEADER_BYTES, Opcode, RequestHeader, ResponseHeader, ResultCode,
};
use sheepdog_proto::{Oid, Vid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::memory::Herd;

pub(super) struct Client {
    pub(super) stream: UnixStream,
}

/// A reply in short.
pub(super) type Got = (u32, Vec<u8>);

pub(super) const OK: u32 = ResultCode::Success.get();
pub(super) const NO_OBJECT: u32 = ResultCode::NoObject.get();
pub(super) const INVALID: u32 = ResultCode::InvalidParameters.get();
pub(super) const LOCKED: u32 = ResultCode::VdiLocked.get();

pub(super) fn header(opcode: Opcode, len: usize) -> RequestHeader {
    RequestHeader::new(opcode, Flags::default(), 0, len as u32)
}

/// A request that carries `payload`.
pub(super) fn carrying(opcode: Opcode, payload: &[u8]) -> (RequestHeader, Vec<u8>) {
    (RequestHeader::new(opcode, Flags::WRITE, 0, payload.len() as u32), payload.to_vec())
}

pub(super) fn read(oid: Oid, offset: u32, len: usize) -> RequestHeader {
    header(Opcode::ReadObject, len).with(OID, oid.get()).with(OFFSET, offset.into())
}

pub(super) fn write(opcode: Opcode, oid: Oid, offset: u32, data: &[u8]) -> Vec<u8> {
    let (header, data) = carrying(opcode, data);
    let header = header.with(OID, oid.get()).with(OFFSET, offset.into());
    [header.0.as_slice(), &data].concat()
}

pub(super) fn lookup(opcode: Opcode, name: &str, tag: &str, snap_id: u32) -> Vec<u8> {
    let fields = [name_field(name.as_bytes()), name_field(tag.as_bytes())].concat();
    let (header, fields) = carrying(opcode, &fields);
    [header.with(SNAP_ID, snap_id.into()).0.as_slice(), &fields].concat()
}

pub(super) fn lock(name: &str, lock_type: u64) -> Vec<u8> {
    let (header, fields) = carrying(Opcode::LockVdi, &name_field(name.as_bytes()));
    [header.with(LOCK_TYPE, lock_type).0.as_slice(), &fields].concat()
}

pub(super) fn new_vdi(name: &str, size: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let (header, payload) = carrying(Opcode::NewVdi, &name_field(name.as_bytes()));
    let header = fields.iter().fold(header.with(VDI_SIZE, size), |h, (f, v)| h.with(*f, *v));
    [header.0.as_slice(), &payload].concat()
}

pub(super) fn release(vid: Vid) -> RequestHeader {
    header(Opcode::ReleaseVdi, 0).with(BASE_VID, vid.get().into())
}

impl Client {
    pub(super) fn connect(herd: &Herd) -> Self {
        Self::connect_to(herd, 0)
    }

    pub(super) fn connect_to(herd: &Herd, shard: usize) -> Self {
        Self::from(herd.connect(shard))
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(super) async fn receive(&mut self) -> (ResponseHeader, Vec<u8>) {
        let mut bytes = [0; HEADER_BYTES];
        self.stream.read_exact(&mut bytes).await.unwrap();
        let header = ResponseHeader(bytes);
        let mut payload = vec![0; header.data_length() as usize];
        self.stream.read_exact(&mut payload).await.unwrap();
        (header, payload)
    }

    /// Sends a request and waits for its reply.
    pub(super) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Got {
        self.send(bytes).await;
        let (header, payload) = self.receive().await;
        if header.result() != OK {
            assert!(payload.is_empty(), "an error carries no payload");
        }
        (header.result(), payload)
    }

    pub(super) async fn ask_header(&mut self, request: RequestHeader) -> Got {
        self.ask(request.0).await
    }

    /// The server has closed without another byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]).await, Ok(0) | Err(_))
    }
}

impl From<StdUnixStream> for Client {
    fn from(stream: StdUnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self { stream: UnixStream::from_std(stream).unwrap() }
    }
}

/// The same request with another id and version.
pub(super) fn numbered(request: RequestHeader, id: u64, version: u64) -> RequestHeader {
    request.with(ID, id).with(VERSION, version)
}
