//! Options: the bytes of the fixed newstyle handshake, numbers in network byte order.
//!
//! Holds:
//!   N1 nothing is allocated by a claimed length or count; every list is bounded by its bytes;
//!   N2 an option that is no exact message of its kind is refused, never guessed.
//! Not here: what an option does (negotiate).

/// Longest data of one option that is read.
pub(super) const DATA_BYTES_MAX: usize = 64 << 10;
/// Longest text that the protocol lets pass in either direction.
pub(super) const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of an option's header.
pub(super) const HEADER_BYTES: usize = 16;
/// The one metadata context served.
pub(super) const ALLOCATION: &str = "base:allocation";
/// The number under which it is served.
pub(super) const ALLOCATION_ID: u32 = 1;

const GREETING: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const REPLY: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;

/// Option numbers, as they are repeated in replies.
pub(super) mod number {
    pub(in crate::nbd) const EXPORT_NAME: u32 = 1;
    pub(in crate::nbd) const ABORT: u32 = 2;
    pub(in crate::nbd) const LIST: u32 = 3;
    pub(in crate::nbd) const INFO: u32 = 6;
    pub(in crate::nbd) const GO: u32 = 7;
    pub(in crate::nbd) const STRUCTURED_REPLY: u32 = 8;
    pub(in crate::nbd) const LIST_META_CONTEXT: u32 = 9;
    pub(in crate::nbd) const SET_META_CONTEXT: u32 = 10;
}

/// Kinds of replies.
pub(super) mod reply {
    pub(in crate::nbd) const ACK: u32 = 1;
    pub(in crate::nbd) const SERVER: u32 = 2;
    pub(in crate::nbd) const INFO: u32 = 3;
    pub(in crate::nbd) const META_CONTEXT: u32 = 4;
    pub(in crate::nbd) const ERR_UNSUP: u32 = (1 << 31) + 1;
    pub(in crate::nbd) const ERR_POLICY: u32 = (1 << 31) + 2;
    pub(in crate::nbd) const ERR_INVALID: u32 = (1 << 31) + 3;
    pub(in crate::nbd) const ERR_UNKNOWN: u32 = (1 << 31) + 6;
    pub(in crate::nbd) const ERR_SHUTDOWN: u32 = (1 << 31) + 7;
    pub(in crate::nbd) const ERR_TOO_BIG: u32 = (1 << 31) + 9;
}

/// Kinds of information about an export.
pub(super) mod info {
    pub(in crate::nbd) const EXPORT: u16 = 0;
    pub(in crate::nbd) const NAME: u16 = 1;
    pub(in crate::nbd) const DESCRIPTION: u16 = 2;
    pub(in crate::nbd) const BLOCK_SIZE: u16 = 3;
}

/// Bytes that make no sense; the text is for the log or the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The first bytes of the server.
pub(super) fn greeting() -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..8].copy_from_slice(&GREETING.to_be_bytes());
    bytes[8..16].copy_from_slice(&OPTION.to_be_bytes());
    bytes[16..].copy_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    bytes
}

/// The first bytes of the client. True if it wants no padding after `EXPORT_NAME`.
pub(super) fn client_flags(bytes: [u8; 4]) -> Result<bool, Malformed> {
    let flags = u32::from_be_bytes(bytes);
    if flags & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(Malformed("unknown client flags"));
    }
    Ok(flags & u32::from(NO_ZEROES) != 0)
}

/// Which option follows, and how many bytes of data it claims.
pub(super) fn header(bytes: &[u8; HEADER_BYTES]) -> Result<(u32, u32), Malformed> {
    let mut fields = Fields(bytes);
    if fields.u64()? != OPTION {
        return Err(Malformed("wrong magic before an option"));
    }
    Ok((fields.u32()?, fields.u32()?))
}

/// `INFO` and `GO`: an export, and what the client wants to know of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inquiry<'a> {
    pub(super) name: &'a [u8],
    pub(super) infos: Vec<u16>,
}

impl<'a> Inquiry<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let name = fields.text()?;
        let count = fields.u16()?;
        let mut infos = Vec::new();
        for _ in 0..count {
            infos.push(fields.u16()?);
        }
        fields.end()?;
        Ok(Self { name, infos })
    }
}

/// `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contexts<'a> {
    pub(super) name: &'a [u8],
    pub(super) queries: Vec<&'a [u8]>,
}

impl<'a> Contexts<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let name = fields.text()?;
        let count = fields.u32()?;
        let mut queries = Vec::new();
        for _ in 0..count {
            queries.push(fields.text()?);
        }
        fields.end()?;
        Ok(Self { name, queries })
    }

    /// `LIST`: no query, or the namespace alone, means all there is.
    pub(super) fn lists_allocation(&self) -> bool {
        self.queries.is_empty() || self.queries.contains(&&b"base:"[..]) || self.sets_allocation()
    }

    /// `SET`: only the full name selects.
    pub(super) fn sets_allocation(&self) -> bool {
        self.queries.contains(&ALLOCATION.as_bytes())
    }
}

/// Appends one reply to `option`.
pub(super) fn put_reply(to: &mut Vec<u8>, option: u32, kind: u32, data: &[&[u8]]) {
    let len: usize = data.iter().map(|part| part.len()).sum();
    to.extend_from_slice(&REPLY.to_be_bytes());
    to.extend_from_slice(&option.to_be_bytes());
    to.extend_from_slice(&kind.to_be_bytes());
    to.extend_from_slice(&(len as u32).to_be_bytes());
    data.iter().for_each(|part| to.extend_from_slice(part));
}

/// Appends a refusal with a text for a human.
pub(super) fn put_error(to: &mut Vec<u8>, option: u32, kind: u32, text: &str) {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX.min(text.len()));
    put_reply(to, option, kind, &[&text.as_bytes()[..end]]);
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed("too few bytes"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("too few bytes"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        if len > TEXT_BYTES_MAX {
            return Err(Malformed("a text is longer than 4096 bytes"));
        }
        self.bytes(len)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("too many bytes")) }
    }
}

#[cfg(test)]
#[path = "option/tests.rs"]
mod tests;
