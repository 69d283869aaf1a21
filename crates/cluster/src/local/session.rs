//! Session files: who lives, and what is to be appended when they die.
//!
//! Way: a member holds an exclusive lock on `session/<uuid>` for its life; the file holds its
//!      will. The server probes with a shared lock: what it gets belonged to a dead member.
//! Holds:
//!   S1 while a session lives its file is locked exclusively, also across a change of the will:
//!      the new file is locked before it takes the name;
//!   S2 a will is replaced as a whole, durably, or not at all;
//!   S3 the file of a dead session is removed only when its will is durable in the log.
//! Not here: when to probe (server), that a will is appended once (trail, T2).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::{Reader, WireError, Writer};

use super::directory::{self, Directory, has_name, private_file, try_lock};
use super::record::ENTRY_BYTES_MAX;
use crate::LogError;

/// How long an exclusive holder may still be exiting before it counts as a second process.
const HOLDER_WAIT: Duration = Duration::from_secs(1);
/// How long a server may take to bury the life before.
const BURIAL_WAIT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(2);

const HEADER_BYTES: usize = 48;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
const MAGIC: [u8; 4] = *b"SDSW";
const VERSION: u16 = 1;

/// Fields of the header: name, first byte, bytes. The page in docs/formats is tested against it.
#[cfg(test)]
pub(super) const LAYOUT: [(&str, usize, usize); 9] = [
    ("magic", 0, 4),
    ("version", 4, 2),
    ("zero1", 6, 2),
    ("session", 8, 16),
    ("life", 24, 8),
    ("payload_bytes", 32, 4),
    ("payload_checksum", 36, 4),
    ("zero2", 40, 4),
    ("header_checksum", 44, 4),
];

/// What is appended when a life of a session ends without being closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Will {
    pub session: u128,
    pub life: u64,
    pub payload: Arc<[u8]>,
}

impl Will {
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut header = Writer::new();
        header.bytes(&MAGIC).u16(VERSION).zeros(2).u128(self.session).u64(self.life);
        header.u32(self.payload.len() as u32).u32(checksum(&self.payload)).zeros(4);
        let mut bytes = header.finish();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let head = reader.bytes(CHECKED_BYTES)?;
        if checksum(head) != reader.u32()? {
            return Err(WireError::Checksum("the header of a will"));
        }
        let mut fields = Reader::new(head);
        if fields.array()? != MAGIC {
            return Err(WireError::Invalid("magic of a will"));
        }
        let version = fields.u16()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        fields.zeros(2)?;
        let (session, life) = (fields.u128()?, fields.u64()?);
        let (length, sum) = (fields.u32()?, fields.u32()?);
        fields.zeros(4)?;
        let payload = reader.bytes(length as usize)?;
        reader.end()?;
        if checksum(payload) != sum {
            return Err(WireError::Checksum("a will"));
        }
        Ok(Self { session, life, payload: Arc::from(payload) })
    }
}

/// The file of this process's own session, locked.
#[derive(Debug)]
pub(super) struct SessionFile {
    path: PathBuf,
    session: u128,
    file: File,
}

impl SessionFile {
    /// Begins a life of `session`. Also gives the will of the life before, if it stands in the
    /// file still: it must be in the log before anything of this life. Blocks for a while if
    /// the life before is just ending.
    ///
    /// # Errors
    /// `SessionInUse`, `Corrupt` (the will of the life before is unreadable), `Version`, `Io`.
    pub(super) fn acquire(
        directory: &Directory,
        session: u128,
    ) -> Result<(Self, Option<Will>), LogError> {
        let path = path_of(directory, session);
        let fail = |error| LogError::io(&path, error);
        let start = Instant::now();
        loop {
            let file = private_file(&path).map_err(fail)?;
            if try_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(fail)? {
                if has_name(&file, &path).map_err(fail)? {
                    let will = read_will(&file, &path, session)?;
                    return Ok((Self { path, session, file }, will));
                }
                continue;
            }
            // Only a living member locks exclusively; a server that probes or buries does not
            // keep a shared lock from us.
            let buried = try_lock(&file, FlockOperation::NonBlockingLockShared).map_err(fail)?;
            drop(file);
            if start.elapsed() > if buried { BURIAL_WAIT } else { HOLDER_WAIT } {
                return Err(LogError::SessionInUse { session });
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Replaces the will. On return it is durable (S2).
    ///
    /// # Errors
    /// `Io`: the will before stands.
    pub(super) fn set_will(&mut self, life: u64, payload: Arc<[u8]>) -> Result<(), LogError> {
        let path = self.path.with_extension("new");
        let fail = |error: io::Error| LogError::io(&path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(fail)? {
            return Err(fail(io::Error::from(io::ErrorKind::ResourceBusy))); // S1
        }
        let will = Will { session: self.session, life, payload };
        file.write_all(&will.emit()).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        std::fs::rename(&path, &self.path).map_err(fail)?;
        self.file = file;
        self.sync_directory()
    }

    /// Ends the session in order: on return no will can be appended any more.
    ///
    /// # Errors
    /// `Io`: the will may stand.
    pub(super) fn remove(&self) -> Result<(), LogError> {
        let fail = |error| LogError::io(&self.path, error);
        if has_name(&self.file, &self.path).map_err(fail)? {
            std::fs::remove_file(&self.path).map_err(fail)?;
        }
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<(), LogError> {
        self.path.parent().map_or(Ok(()), directory::sync)
    }
}

/// What a probe of a session file found.
#[derive(Debug)]
pub(super) enum Probe {
    /// A process holds it.
    Live,
    /// There is none: the session was closed, or is buried already.
    Missing,
    /// Its process has died.
    Dead(DeadSession),
}

/// The file of a dead session, kept from a new life until it is buried or let go.
#[derive(Debug)]
pub(super) struct DeadSession {
    path: PathBuf,
    _file: File,
    pub will: Option<Will>,
}

impl DeadSession {
    /// Removes the file, its will being durable in the log (S3). A file that power loss brings
    /// back does no harm: its will is recognised.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn bury(self) -> Result<(), LogError> {
        std::fs::remove_file(&self.path).map_err(|error| LogError::io(&self.path, error))
    }
}

/// Looks whether a session lives.
///
/// # Errors
/// `Corrupt` and `Version` for a dead session whose will cannot be read, `Io`.
pub(super) fn probe(directory: &Directory, session: u128) -> Result<Probe, LogError> {
    let path = path_of(directory, session);
    let fail = |error| LogError::io(&path, error);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Probe::Missing),
        Err(error) => return Err(fail(error)),
    };
    if !try_lock(&file, FlockOperation::NonBlockingLockShared).map_err(fail)?
        || !has_name(&file, &path).map_err(fail)?
    {
        return Ok(Probe::Live);
    }
    let will = read_will(&file, &path, session)?;
    Ok(Probe::Dead(DeadSession { path, _file: file, will }))
}

/// The will of a session whose process lives.
///
/// # Errors
/// As [`probe`].
pub(super) fn read_living(directory: &Directory, session: u128) -> Result<Option<Will>, LogError> {
    let path = path_of(directory, session);
    match File::open(&path) {
        Ok(file) => read_will(&file, &path, session),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::io(&path, error)),
    }
}

/// Every session that has a file.
///
/// # Errors
/// `Io`.
pub(super) fn list(directory: &Directory) -> Result<Vec<u128>, LogError> {
    let path = directory.session_directory();
    let fail = |error| LogError::io(&path, error);
    let mut sessions = Vec::new();
    for file in std::fs::read_dir(&path).map_err(fail)? {
        let name = file.map_err(fail)?.file_name();
        let session = name.to_str().and_then(|name| u128::from_str_radix(name, 16).ok());
        sessions.extend(session.filter(|session| *file_name(*session) == *name));
    }
    sessions.sort_unstable();
    Ok(sessions)
}

fn file_name(session: u128) -> String {
    format!("{session:032x}")
}

fn path_of(directory: &Directory, session: u128) -> PathBuf {
    directory.session_directory().join(file_name(session))
}

fn read_will(file: &File, path: &Path, session: u128) -> Result<Option<Will>, LogError> {
    let mut bytes = Vec::new();
    let bytes_max = (HEADER_BYTES + ENTRY_BYTES_MAX + 1) as u64;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(|error| LogError::io(path, error))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let corrupt = |reason| LogError::Corrupt { path: path.to_owned(), offset: 0, reason };
    match Will::parse(&bytes) {
        Ok(will) if will.session == session => Ok(Some(will)),
        Ok(_) => Err(corrupt("the will is that of another session")),
        Err(WireError::Version(version)) => {
            Err(LogError::Version { what: path.display().to_string(), version })
        }
        Err(WireError::Short) => Err(corrupt("the will is cut off")),
        Err(WireError::Checksum(reason) | WireError::Invalid(reason)) => Err(corrupt(reason)),
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
