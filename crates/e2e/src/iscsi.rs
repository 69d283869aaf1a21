//! A small iSCSI initiator: the client in front of tgt.
//!
//! Why: writes must be in flight side by side, verified and timed by the test; the programs of
//!      libiscsi only inquire and test, and QEMU's driver fits only QEMU's own package.
//! Way: [`Initiator::log_in`] agrees on the parameters; requests are written by whoever asks, a
//!      task reads the answers and feeds the data that the target asks for.
//! Not here: authentication, digests, error recovery, several connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::iscsi_pdu::{NO_TAG, Pdu, emit_keys, opcode, parse_keys};
use crate::wait;

/// Bytes of one logical block.
pub const SECTOR_BYTES: u64 = 512;
/// Longest data that we take in one message.
const RECEIVE_BYTES: &str = "262144";
/// Longest that any command may take: tgt waits for its sheep without a limit of its own.
const LIMIT: Duration = Duration::from_secs(120);

const FINAL: u8 = 0x80;
const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const SIMPLE: u8 = 0x01;

/// A session with one target's unit 1. Requests may be made side by side.
#[derive(Debug)]
pub struct Initiator {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    /// Bytes of the disk.
    size: u64,
}

#[derive(Debug)]
struct Shared {
    output: tokio::sync::Mutex<Output>,
    tasks: Mutex<HashMap<u32, Task>>,
    /// Longest data that the target takes in one message.
    send_bytes: usize,
    status_number: std::sync::atomic::AtomicU32,
}

#[derive(Debug)]
struct Output {
    socket: OwnedWriteHalf,
    command_number: u32,
    tag: u32,
}

#[derive(Debug)]
struct Task {
    /// To be written.
    data: Arc<Vec<u8>>,
    /// Read so far.
    read: Vec<u8>,
    done: oneshot::Sender<Result<Vec<u8>>>,
}

impl Initiator {
    /// Logs in at `127.0.0.1:port`.
    ///
    /// # Errors
    /// If the target refuses.
    pub async fn log_in(port: u16, target: &str) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.context("the portal")?;
        socket.set_nodelay(true)?;
        let (mut input, mut output) = socket.into_split();
        let first = [
            ("InitiatorName", "iqn.2026-01.test.sheepdog:initiator"),
            ("TargetName", target),
            ("SessionType", "Normal"),
            ("AuthMethod", "None"),
        ];
        // From security negotiation to operational negotiation, then to full feature phase.
        let (_, number) = login(&mut input, &mut output, 0x81, 0, &first).await?;
        let second = [
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("InitialR2T", "Yes"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", RECEIVE_BYTES),
            ("MaxBurstLength", RECEIVE_BYTES),
            ("FirstBurstLength", RECEIVE_BYTES),
            ("MaxOutstandingR2T", "1"),
            ("MaxConnections", "1"),
            ("ErrorRecoveryLevel", "0"),
        ];
        let (keys, number) = login(&mut input, &mut output, 0x87, number, &second).await?;
        let length = keys.get("MaxRecvDataSegmentLength").map_or(Ok(8192), |text| text.parse())?;
        let shared = Arc::new(Shared {
            output: tokio::sync::Mutex::new(Output { socket: output, command_number: 1, tag: 1 }),
            tasks: Mutex::default(),
            send_bytes: length,
            status_number: number.into(),
        });
        let reader = tokio::spawn(read_all(input, shared.clone()));
        let mut initiator = Self { shared, reader, size: 0 };
        initiator.size = initiator.inquire().await?;
        Ok(initiator)
    }

    /// Bytes of the disk.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// `length` bytes from `offset`; both must be multiples of [`SECTOR_BYTES`].
    ///
    /// # Errors
    /// If the target answers with anything but success.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let bytes = self.task(block(0x28, offset, length)?, length, Vec::new()).await?;
        ensure!(bytes.len() == length, "{} bytes instead of {length}", bytes.len());
        Ok(bytes)
    }

    /// Replaces the bytes from `offset`.
    ///
    /// # Errors
    /// If the target answers with anything but success.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let command = block(0x2a, offset, data.len())?;
        self.task(command, 0, data.to_vec()).await.map(drop)
    }

    /// SYNCHRONIZE CACHE of everything.
    ///
    /// # Errors
    /// If the target answers with anything but success.
    pub async fn flush(&self) -> Result<()> {
        let mut command = [0; 16];
        command[0] = 0x35;
        self.task(command, 0, Vec::new()).await.map(drop)
    }

    /// The size of the disk. The first command of a session is told of its reset instead.
    async fn inquire(&self) -> Result<u64> {
        for _ in 0..3 {
            if self.task([0; 16], 0, Vec::new()).await.is_ok() {
                break;
            }
        }
        let mut command = [0; 16];
        command[..2].copy_from_slice(&[0x9e, 0x10]);
        command[13] = 32;
        let answer = self.task(command, 32, Vec::new()).await.context("READ CAPACITY (16)")?;
        let (last, _) = answer.split_first_chunk().context("a capacity of few bytes")?;
        Ok((u64::from_be_bytes(*last) + 1) * SECTOR_BYTES)
    }

    async fn task(&self, command: [u8; 16], read: usize, data: Vec<u8>) -> Result<Vec<u8>> {
        let data = Arc::new(data);
        let (done, answer) = oneshot::channel();
        {
            let mut output = self.shared.output.lock().await;
            output.tag += 1;
            let tag = output.tag;
            let direction = if read > 0 {
                READ
            } else if data.is_empty() {
                0
            } else {
                WRITE
            };
            let mut pdu = Pdu::new(opcode::COMMAND, FINAL | SIMPLE | direction)
                .set(16, tag)
                .set(20, read.max(data.len()) as u32)
                .set(24, output.command_number)
                .set(28, self.shared.expected());
            pdu.header[9] = 1;
            pdu.header[32..].copy_from_slice(&command);
            let immediate = data.len().min(self.shared.send_bytes);
            let pdu = pdu.with_data(data[..immediate].to_vec());
            let task = Task { data, read: vec![0; read], done };
            self.shared.tasks().insert(tag, task);
            output.command_number += 1;
            output.socket.write_all(&pdu.emit()).await?;
        }
        match wait::within("an iSCSI command", LIMIT, answer).await {
            Ok(result) => result,
            Err(error) => Err(error),
        }
    }
}

impl Drop for Initiator {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> u32 {
        self.status_number.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn finish(&self, tag: u32, status: u8, sense: &[u8]) {
        let Some(task) = self.tasks().remove(&tag) else { return };
        let result = match status {
            0 => Ok(task.read),
            status => Err(anyhow!("SCSI status {status:#x}, sense {sense:02x?}")),
        };
        // Whoever waited may have given up.
        let _ = task.done.send(result);
    }

    async fn handle(&self, pdu: Pdu) -> Result<()> {
        let tag = pdu.tag();
        let note = || {
            let next = pdu.get(24).wrapping_add(1);
            self.status_number.store(next, std::sync::atomic::Ordering::Relaxed);
        };
        match pdu.opcode() {
            opcode::RESPONSE => {
                note();
                let status = if pdu.header[2] == 0 { pdu.header[3] } else { u8::MAX };
                self.finish(tag, status, &pdu.data);
            }
            opcode::DATA_IN => {
                let offset = pdu.get(40) as usize;
                if let Some(task) = self.tasks().get_mut(&tag) {
                    let place = task.read.get_mut(offset..offset + pdu.data.len());
                    place.context("data outside the request")?.copy_from_slice(&pdu.data);
                }
                if pdu.header[1] & 1 != 0 {
                    note();
                    self.finish(tag, pdu.header[3], &[]);
                }
            }
            opcode::READY_TO_TRANSFER => self.feed(&pdu).await?,
            opcode::NOP_IN if pdu.get(20) != NO_TAG => {
                let answer = Pdu::new(opcode::NOP_OUT | 0x40, FINAL)
                    .set(16, NO_TAG)
                    .set(20, pdu.get(20))
                    .set(28, self.expected());
                self.output.lock().await.socket.write_all(&answer.emit()).await?;
            }
            opcode::NOP_IN => {}
            other => bail!("a message of kind {other:#x}"),
        }
        Ok(())
    }

    /// Sends the part of a task's data that the target asks for.
    async fn feed(&self, wanted: &Pdu) -> Result<()> {
        let tag = wanted.tag();
        let data = self.tasks().get(&tag).map(|task| task.data.clone());
        let data = data.context("the target asks for data of nothing")?;
        let start = wanted.get(40) as usize;
        let part = data.get(start..start + wanted.get(44) as usize).context("too much asked")?;
        let count = part.len().div_ceil(self.send_bytes);
        let mut bytes = Vec::new();
        for (number, chunk) in part.chunks(self.send_bytes).enumerate() {
            let flags = if number + 1 == count { FINAL } else { 0 };
            let pdu = Pdu::new(opcode::DATA_OUT, flags)
                .set(16, tag)
                .set(20, wanted.get(20))
                .set(28, self.expected())
                .set(36, number as u32)
                .set(40, (start + number * self.send_bytes) as u32);
            bytes.extend(pdu.with_data(chunk.to_vec()).emit());
        }
        self.output.lock().await.socket.write_all(&bytes).await?;
        Ok(())
    }
}

/// Reads until the connection ends, then tells everyone.
async fn read_all(mut input: OwnedReadHalf, shared: Arc<Shared>) {
    let end = loop {
        let step = match Pdu::read(&mut input).await {
            Ok(pdu) => shared.handle(pdu).await,
            Err(error) => Err(error),
        };
        if let Err(error) = step {
            break error;
        }
    };
    for task in std::mem::take(&mut *shared.tasks()).into_values() {
        let _ = task.done.send(Err(anyhow!("the session has ended: {end:#}")));
    }
}

/// One step of the login. Returns the target's keys and the next status number.
async fn login(
    input: &mut OwnedReadHalf,
    output: &mut OwnedWriteHalf,
    flags: u8,
    status_number: u32,
    keys: &[(&str, &str)],
) -> Result<(HashMap<String, String>, u32)> {
    let mut pdu = Pdu::new(opcode::LOGIN | 0x40, flags)
        .set(16, 1)
        .set(24, 1)
        .set(28, status_number)
        .with_data(emit_keys(keys));
    // A random kind of session id, so that none needs to be registered.
    pdu.header[8] = 0x80;
    output.write_all(&pdu.emit()).await?;
    let answer = Pdu::read(input).await?;
    ensure!(answer.opcode() == opcode::LOGIN_RESPONSE, "no login answer");
    let [class, detail] = [answer.header[36], answer.header[37]];
    ensure!(class == 0, "login refused: class {class}, detail {detail}");
    ensure!(answer.header[1] == flags, "login went to {:#x}", answer.header[1]);
    Ok((parse_keys(&answer.data), answer.get(24).wrapping_add(1)))
}

/// READ (10) or WRITE (10).
fn block(code: u8, offset: u64, length: usize) -> Result<[u8; 16]> {
    ensure!(offset.is_multiple_of(SECTOR_BYTES), "offset {offset} is no multiple of a sector");
    ensure!(
        (length as u64).is_multiple_of(SECTOR_BYTES),
        "length {length} is no multiple of a sector"
    );
    let mut command = [0; 16];
    command[0] = code;
    let sector = u32::try_from(offset / SECTOR_BYTES).context("offset")?;
    command[2..6].copy_from_slice(&sector.to_be_bytes());
    let count = u16::try_from(length as u64 / SECTOR_BYTES).context("length")?;
    command[7..9].copy_from_slice(&count.to_be_bytes());
    Ok(command)
}
