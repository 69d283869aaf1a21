//! Handshake: fixed newstyle negotiation, the client's side.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Export, Input, NbdError, Output};

const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
const REPLY: u64 = 0x0003_e889_0455_65a9;
/// Fixed newstyle, no padding.
const FLAGS: u16 = 0b11;
const ERROR: u32 = 1 << 31;
const REPLY_BYTES_MAX: usize = 64 << 10;
const ALLOCATION: &[u8] = b"base:allocation";

mod option {
    pub(super) const ABORT: u32 = 2;
    pub(super) const LIST: u32 = 3;
    pub(super) const INFO: u32 = 6;
    pub(super) const GO: u32 = 7;
    pub(super) const STRUCTURED_REPLY: u32 = 8;
    pub(super) const SET_META_CONTEXT: u32 = 10;
}

mod kind {
    pub(super) const ACK: u32 = 1;
    pub(super) const SERVER: u32 = 2;
    pub(super) const INFO: u32 = 3;
    pub(super) const META_CONTEXT: u32 = 4;
    pub(super) const ERR_UNSUP: u32 = (1 << 31) + 1;
}

/// A connection before its export is open.
pub(super) struct Handshake {
    input: Input,
    output: Output,
}

impl Handshake {
    pub(super) async fn start((mut input, mut output): (Input, Output)) -> Result<Self, NbdError> {
        let mut magic = [0; 16];
        input.read_exact(&mut magic).await?;
        if &magic != GREETING {
            return Err(NbdError::Protocol("this is no NBD server of the newstyle kind"));
        }
        if input.read_u16().await? & FLAGS != FLAGS {
            return Err(NbdError::Protocol("the server does not know fixed newstyle"));
        }
        output.write_u32(FLAGS.into()).await?;
        Ok(Self { input, output })
    }

    pub(super) fn into_parts(self) -> (Input, Output) {
        (self.input, self.output)
    }

    pub(super) async fn list(&mut self) -> Result<Vec<String>, NbdError> {
        let mut names = Vec::new();
        self.ask(option::LIST, &[], |kind, data| {
            if kind == kind::SERVER {
                let len = be32(data, 0)? as usize;
                let name = data.get(4..).and_then(|rest| rest.get(..len));
                names.push(text(name.ok_or(NbdError::Protocol("a name is cut off"))?));
            }
            Ok(())
        })
        .await?;
        Ok(names)
    }

    /// True if the server agrees to structured replies.
    pub(super) async fn structure(&mut self) -> Result<bool, NbdError> {
        match self.ask(option::STRUCTURED_REPLY, &[], |_, _| Ok(())).await {
            Ok(()) => Ok(true),
            Err(NbdError::Refused { code: kind::ERR_UNSUP, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// True if the server agrees to tell which parts are allocated.
    pub(super) async fn select(&mut self, name: &str) -> Result<bool, NbdError> {
        let mut data = sized(name.as_bytes());
        data.extend_from_slice(&1_u32.to_be_bytes());
        data.extend_from_slice(&sized(ALLOCATION));
        let mut selected = false;
        let asked = self.ask(option::SET_META_CONTEXT, &data, |kind, data| {
            selected |= kind == kind::META_CONTEXT && data.get(4..) == Some(ALLOCATION);
            Ok(())
        });
        match asked.await {
            Ok(()) => Ok(selected),
            Err(NbdError::Refused { code: kind::ERR_UNSUP, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks about an export, and opens it if `go`.
    pub(super) async fn inquire(&mut self, name: &str, go: bool) -> Result<Export, NbdError> {
        let mut data = sized(name.as_bytes());
        for field in [3_u16, 1, 2, 3] {
            data.extend_from_slice(&field.to_be_bytes());
        }
        let mut export = None;
        let mut more = Export::default();
        let option = if go { option::GO } else { option::INFO };
        self.ask(option, &data, |kind, data| {
            if kind != kind::INFO {
                return Ok(());
            }
            let (what, rest) =
                data.split_first_chunk::<2>().ok_or(NbdError::Protocol("an empty answer"))?;
            match u16::from_be_bytes(*what) {
                0 => export = Some((be64(rest, 0)?, (be32(rest, 6)? & 0xffff) as u16)),
                1 => more.name = Some(text(rest)),
                2 => more.description = Some(text(rest)),
                3 => more.block_bytes = Some([be32(rest, 0)?, be32(rest, 4)?, be32(rest, 8)?]),
                _ => {}
            }
            Ok(())
        })
        .await?;
        let (size, flags) = export.ok_or(NbdError::Protocol("the size is missing"))?;
        Ok(Export { size, flags, ..more })
    }

    pub(super) async fn abort(mut self) -> Result<(), NbdError> {
        self.ask(option::ABORT, &[], |_, _| Ok(())).await
    }

    /// Sends an option; `see` gets every answer before the last one.
    async fn ask(
        &mut self,
        option: u32,
        data: &[u8],
        mut see: impl FnMut(u32, &[u8]) -> Result<(), NbdError>,
    ) -> Result<(), NbdError> {
        let mut bytes = GREETING[8..].to_vec();
        bytes.extend_from_slice(&option.to_be_bytes());
        bytes.extend_from_slice(&sized(data));
        self.output.write_all(&bytes).await?;
        loop {
            if self.input.read_u64().await? != REPLY || self.input.read_u32().await? != option {
                return Err(NbdError::Protocol("an answer to another option"));
            }
            let code = self.input.read_u32().await?;
            let len = self.input.read_u32().await? as usize;
            if len > REPLY_BYTES_MAX {
                return Err(NbdError::Protocol("an answer is too long"));
            }
            let mut data = vec![0; len];
            self.input.read_exact(&mut data).await?;
            match code {
                kind::ACK => return Ok(()),
                code if code & ERROR != 0 => {
                    return Err(NbdError::Refused { code, text: text(&data) });
                }
                code => see(code, &data)?,
            }
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut sized = (bytes.len() as u32).to_be_bytes().to_vec();
    sized.extend_from_slice(bytes);
    sized
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Four bytes at `at`.
pub(super) fn be32(bytes: &[u8], at: usize) -> Result<u32, NbdError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map(|field| u32::from_be_bytes(*field)).ok_or(NbdError::Protocol("a field is cut off"))
}

/// Eight bytes at `at`.
pub(super) fn be64(bytes: &[u8], at: usize) -> Result<u64, NbdError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map(|field| u64::from_be_bytes(*field)).ok_or(NbdError::Protocol("a field is cut off"))
}
