//! Disk: an open VDI, read and written by bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sheepdog_proto::legacy::header::{BASE_VID, OBJECT_COPIES, OFFSET, OID, REPLY_VID, VERSION};
use sheepdog_proto::legacy::inode::{INODE_HEADER_BYTES, InodeHeader, MAP_END, MAP_START};
use sheepdog_proto::legacy::request::name_field;
use sheepdog_proto::legacy::{Flags, Opcode, RequestHeader, ResultCode};
use sheepdog_proto::{Oid, Payload, Vid};
use tokio::sync::OwnedMutexGuard;

use super::LegacyError;
use super::link::{Link, Reply, Waiting, exchange};
use crate::endpoint::Endpoint;

/// An open VDI. Requests may be made side by side; each waits for earlier ones on its objects.
/// Every write is durable when it returns. Dropping it leaves the VDI locked until the server
/// notices that this client is gone: call [`Disk::release`].
#[derive(Debug)]
pub struct Disk {
    endpoint: Endpoint,
    link: Link,
    name: String,
    inode: InodeHeader,
    /// The client's own copy of the map, as QEMU keeps it: entries at the vid that owns the object.
    map: Mutex<Vec<u32>>,
    /// Objects with a request on the way (Y2).
    busy: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>,
}

/// Bytes of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    index: u32,
    offset: u32,
    /// Which bytes of the request.
    bytes: Range<usize>,
}

impl Disk {
    /// Opens the VDI `name` for writing. Must be called inside a tokio runtime, which then runs
    /// two more tasks.
    ///
    /// # Errors
    /// `Refused` with `VdiLocked` if somebody has it open, with `NoVdi` if there is none.
    pub async fn open(endpoint: Endpoint, name: &str) -> Result<Self, LegacyError> {
        let link = Link::open(endpoint.clone()).await?;
        let mut names = name_field(name.as_bytes()).to_vec();
        names.extend([0; 256]);
        let length = names.len() as u32;
        let lock = RequestHeader::new(Opcode::LockVdi, Flags::WRITE, 0, length).with(VERSION, 1);
        let (reply, _) = check(Opcode::LockVdi, exchange(&endpoint, lock, &names).await?)?;
        let vid = Vid::new(reply.get(REPLY_VID) as u32)
            .ok_or(LegacyError::Protocol("a lock without a vid"))?;
        match read_inode(&endpoint, vid).await {
            Ok((inode, map)) => Ok(Self {
                endpoint,
                link,
                name: name.to_owned(),
                inode,
                map: Mutex::new(map),
                busy: Mutex::default(),
            }),
            Err(error) => {
                // The lock was granted; the first error is the one to tell.
                let _ = release(&endpoint, vid, name).await;
                Err(error)
            }
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.inode.size
    }

    /// Id of the VDI.
    #[must_use]
    pub const fn vid(&self) -> Vid {
        self.inode.vid
    }

    /// Object size is 2^this bytes.
    #[must_use]
    pub const fn object_shift(&self) -> u8 {
        self.inode.object_shift
    }

    /// How often the data connection was made again.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.link.reconnects()
    }

    /// `length` bytes from `offset`. Objects that the map does not name are zeros, without asking.
    ///
    /// # Errors
    /// `Refused` with the server's code; `Range`.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, LegacyError> {
        let pieces = self.pieces(offset, length)?;
        let _busy = self.occupy(&pieces).await;
        let mut waiting = Vec::new();
        for piece in pieces {
            let owner = Vid::new(self.entry(piece.index));
            if let Some(owner) = owner {
                let oid = Oid::data(owner, piece.index);
                let bytes = piece.bytes.len() as u32;
                let header =
                    self.object(Opcode::ReadObject, Flags::DIRECT, oid, piece.offset, bytes);
                waiting.push((piece, self.link.submit(header, Payload::empty())));
            }
        }
        let mut data = vec![0; length];
        for (piece, waiting) in waiting {
            let (_, bytes) = check(Opcode::ReadObject, waiting.reply().await?)?;
            if bytes.len() != piece.bytes.len() {
                return Err(LegacyError::Protocol("a read of another length than asked"));
            }
            data[piece.bytes].copy_from_slice(&bytes);
        }
        Ok(data)
    }

    /// Replaces the bytes from `offset`; durable on return. Objects that do not exist are created,
    /// then named in the map (Y3).
    ///
    /// # Errors
    /// `Refused` with the server's code; `Range`. Part of it may have been written.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<(), LegacyError> {
        let pieces = self.pieces(offset, data.len())?;
        let _busy = self.occupy(&pieces).await;
        let payload = Payload::from(data);
        let mut waiting = Vec::new();
        let mut created = Vec::new();
        for piece in pieces {
            let own = self.entry(piece.index) == self.inode.vid.get();
            let opcode = if own { Opcode::WriteObject } else { Opcode::CreateAndWriteObject };
            if !own {
                created.push(piece.index);
            }
            let part = payload.slice(piece.bytes);
            waiting.push((opcode, self.write_object(opcode, piece.index, piece.offset, part)));
        }
        for (opcode, waiting) in waiting {
            check(opcode, waiting.reply().await?)?;
        }
        self.name_objects(&created).await
    }

    /// Makes everything that was acknowledged durable; here it is already.
    ///
    /// # Errors
    /// `Refused`, unless the server says that there is nothing to flush.
    pub async fn flush(&self) -> Result<(), LegacyError> {
        let header = self.object(Opcode::FlushVdi, Flags::CACHE, self.map_oid(), 0, 0);
        let reply = self.link.submit(header, Payload::empty()).reply().await?;
        if reply.0.result() == ResultCode::InvalidParameters.get() {
            return Ok(());
        }
        check(Opcode::FlushVdi, reply).map(drop)
    }

    /// Unlocks the VDI and closes the connection. Nothing may be on the way.
    ///
    /// # Errors
    /// `Io`; the server then unlocks by itself after a while.
    pub async fn release(self) -> Result<(), LegacyError> {
        release(&self.endpoint, self.inode.vid, &self.name).await
    }

    /// One write into the map over all of `created`; entries between them are repeated.
    async fn name_objects(&self, created: &[u32]) -> Result<(), LegacyError> {
        let (Some(first), Some(last)) = (created.first(), created.last()) else { return Ok(()) };
        let vid = self.inode.vid.get();
        let bytes: Vec<u8> = {
            let mut map = self.map();
            created.iter().for_each(|index| map[*index as usize] = vid);
            let range = *first as usize..=*last as usize;
            map[range].iter().flat_map(|entry| entry.to_le_bytes()).collect()
        };
        let flags = Flags::WRITE.and(Flags::DIRECT);
        let offset = MAP_START + 4 * first;
        let opcode = Opcode::WriteObject;
        let header = self.object(opcode, flags, self.map_oid(), offset, bytes.len() as u32);
        let reply = self.link.submit(header, Payload::from(bytes.as_slice())).reply().await?;
        check(opcode, reply).map(drop)
    }

    fn write_object(&self, opcode: Opcode, index: u32, offset: u32, part: Payload) -> Waiting {
        let flags = Flags::WRITE.and(Flags::DIRECT);
        let oid = Oid::data(self.inode.vid, index);
        self.link.submit(self.object(opcode, flags, oid, offset, part.len() as u32), part)
    }

    fn object(
        &self,
        opcode: Opcode,
        flags: Flags,
        oid: Oid,
        offset: u32,
        length: u32,
    ) -> RequestHeader {
        RequestHeader::new(opcode, flags, 0, length)
            .with(OID, oid.get())
            .with(OFFSET, offset.into())
            .with(OBJECT_COPIES, self.inode.copies.into())
    }

    const fn map_oid(&self) -> Oid {
        Oid::map(self.inode.vid, 0)
    }

    fn map(&self) -> MutexGuard<'_, Vec<u32>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: u32) -> u32 {
        self.map()[index as usize]
    }

    fn pieces(&self, offset: u64, length: usize) -> Result<Vec<Piece>, LegacyError> {
        let end = offset.checked_add(length as u64).ok_or(LegacyError::Range)?;
        if end > self.inode.size {
            return Err(LegacyError::Range);
        }
        Ok(cut(offset, length, self.inode.object_shift))
    }

    /// Waits until no other request is on the way for these objects (Y2). Locks are taken by
    /// rising index, so that no two requests wait for each other.
    async fn occupy(&self, pieces: &[Piece]) -> Vec<OwnedMutexGuard<()>> {
        let mut guards = Vec::new();
        for piece in pieces {
            let lock = {
                let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
                busy.entry(piece.index).or_default().clone()
            };
            guards.push(lock.lock_owned().await);
        }
        guards
    }
}

fn cut(offset: u64, length: usize, object_shift: u8) -> Vec<Piece> {
    let object = 1_u64 << object_shift;
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let inside = at % object;
        let count = (object - inside).min((length - done) as u64) as usize;
        let index = (at >> object_shift) as u32;
        pieces.push(Piece { index, offset: inside as u32, bytes: done..done + count });
        done += count;
    }
    pieces
}

fn check(opcode: Opcode, reply: Reply) -> Result<Reply, LegacyError> {
    match reply.0.result() {
        0 => Ok(reply),
        code => Err(LegacyError::Refused { opcode, code }),
    }
}

async fn read_inode(endpoint: &Endpoint, vid: Vid) -> Result<(InodeHeader, Vec<u32>), LegacyError> {
    let header = RequestHeader::new(Opcode::ReadObject, Flags::DIRECT, 0, MAP_END)
        .with(OID, Oid::map(vid, 0).get());
    let (_, bytes) = check(Opcode::ReadObject, exchange(endpoint, header, &[]).await?)?;
    if bytes.len() as u64 != u64::from(MAP_END) {
        return Err(LegacyError::Protocol("an inode of the wrong length"));
    }
    let inode = InodeHeader::parse(&bytes)
        .map_err(|_| LegacyError::Protocol("an inode that makes no sense"))?;
    let map = bytes[INODE_HEADER_BYTES..].as_chunks::<4>().0;
    let map: Vec<u32> = map.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
    let sound = (12..=31).contains(&inode.object_shift)
        && inode.size.div_ceil(1 << inode.object_shift) <= map.len() as u64;
    if inode.vid != vid || !sound {
        return Err(LegacyError::Protocol("an inode that makes no sense"));
    }
    Ok((inode, map))
}

async fn release(endpoint: &Endpoint, vid: Vid, name: &str) -> Result<(), LegacyError> {
    let mut payload = name.as_bytes().to_vec();
    payload.push(0);
    let header = RequestHeader::new(Opcode::ReleaseVdi, Flags::WRITE, 0, payload.len() as u32)
        .with(BASE_VID, vid.get().into());
    let reply = exchange(endpoint, header, &payload).await?;
    if reply.0.result() == ResultCode::VdiNotLocked.get() {
        return Ok(());
    }
    check(Opcode::ReleaseVdi, reply).map(drop)
}

#[cfg(test)]
#[path = "disk/tests.rs"]
mod tests;
