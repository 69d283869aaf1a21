//! The messages of iSCSI (RFC 7143) that a simple initiator needs.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) const HEADER_BYTES: usize = 48;
pub(crate) const NO_TAG: u32 = u32::MAX;
const DATA_BYTES_MAX: usize = 1 << 20;

/// What a message is.
pub(crate) mod opcode {
    pub(crate) const NOP_OUT: u8 = 0x00;
    pub(crate) const COMMAND: u8 = 0x01;
    pub(crate) const LOGIN: u8 = 0x03;
    pub(crate) const DATA_OUT: u8 = 0x05;
    pub(crate) const NOP_IN: u8 = 0x20;
    pub(crate) const RESPONSE: u8 = 0x21;
    pub(crate) const LOGIN_RESPONSE: u8 = 0x23;
    pub(crate) const DATA_IN: u8 = 0x25;
    pub(crate) const READY_TO_TRANSFER: u8 = 0x31;
}

/// A header and its data.
#[derive(Clone, Debug)]
pub(crate) struct Pdu {
    pub(crate) header: [u8; HEADER_BYTES],
    pub(crate) data: Vec<u8>,
}

impl Pdu {
    pub(crate) const fn new(opcode: u8, flags: u8) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[0] = opcode;
        header[1] = flags;
        Self { header, data: Vec::new() }
    }

    pub(crate) const fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    pub(crate) fn get(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, 1, 2, 3].map(|byte| self.header[at + byte]))
    }

    pub(crate) fn set(mut self, at: usize, value: u32) -> Self {
        self.header[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    /// The task that it belongs to.
    pub(crate) fn tag(&self) -> u32 {
        self.get(16)
    }

    pub(crate) fn with_data(mut self, data: Vec<u8>) -> Self {
        self.data = data;
        self
    }

    pub(crate) fn emit(mut self) -> Vec<u8> {
        let length = (self.data.len() as u32).to_be_bytes();
        self.header[5..8].copy_from_slice(&length[1..]);
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&self.data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    pub(crate) async fn read(input: &mut (impl AsyncRead + Unpin)) -> Result<Self> {
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).await.context("the target has closed the connection")?;
        ensure!(header[4] == 0, "additional headers were not agreed on");
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        ensure!(length <= DATA_BYTES_MAX, "{length} bytes of data were not agreed on");
        let mut data = vec![0; length.next_multiple_of(4)];
        input.read_exact(&mut data).await?;
        data.truncate(length);
        Ok(Self { header, data })
    }
}

/// `key=value`, each with a zero behind it.
pub(crate) fn emit_keys(keys: &[(&str, &str)]) -> Vec<u8> {
    keys.iter().flat_map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect()
}

pub(crate) fn parse_keys(data: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(data);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
