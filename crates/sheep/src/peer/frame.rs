//! Reads peer messages from a stream, as many per system call as there are.
//!
//! Holds:
//!   F1 a message is taken whole or not at all;
//!   F2 a payload larger than the buffer is read straight into its own aligned buffer; nothing
//!      is allocated beyond the bounds that the header's check enforces.

use std::io;

use sheepdog_proto::peer::{HEADER_BYTES, Header};
use sheepdog_proto::{Buffer, Payload};
use tokio::io::{AsyncRead, AsyncReadExt};

const BUFFER_BYTES: usize = 256 << 10;

/// Header, metadata, payload.
pub(crate) type Message = (Header, Vec<u8>, Payload);

/// A stream being read.
pub(crate) struct FrameReader<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// The next message, and every further one that has arrived whole.
    pub(crate) async fn next_batch(&mut self) -> io::Result<Vec<Message>> {
        let mut batch = Vec::new();
        loop {
            while let Some(message) = self.take_buffered()? {
                batch.push(message);
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
            match self.header()? {
                Some(header) if total(&header) > BUFFER_BYTES => {
                    batch.push(self.take_large(header).await?);
                }
                _ => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let count = self.stream.read(&mut self.buffer[self.end..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end += count;
        Ok(())
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn header(&self) -> io::Result<Option<Header>> {
        let Some(bytes) = self.unread().first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        Header::parse(bytes).map(Some).map_err(invalid)
    }

    fn take_buffered(&mut self) -> io::Result<Option<Message>> {
        let Some(header) = self.header()? else { return Ok(None) };
        let total = total(&header);
        if self.unread().len() < total {
            return Ok(None); // F1
        }
        let (meta, data) = self.unread()[HEADER_BYTES..total].split_at(header.meta_bytes as usize);
        let message = (header, meta.to_vec(), Payload::from(data));
        self.start += total;
        Ok(Some(message))
    }

    /// A message that does not fit the buffer (F2).
    async fn take_large(&mut self, header: Header) -> io::Result<Message> {
        self.start += HEADER_BYTES;
        let mut meta = Vec::new();
        self.take_into(header.meta_bytes as usize, &mut meta).await?;
        let mut data = Buffer::zeroed(header.data_bytes as usize);
        let ready = data.len().min(self.end - self.start);
        data[..ready].copy_from_slice(&self.buffer[self.start..self.start + ready]);
        self.start += ready;
        self.stream.read_exact(&mut data[ready..]).await?;
        Ok((header, meta, data.share()))
    }

    async fn take_into(&mut self, count: usize, target: &mut Vec<u8>) -> io::Result<()> {
        while target.len() < count {
            if self.start == self.end {
                self.fill().await?;
            }
            let take = (count - target.len()).min(self.end - self.start);
            target.extend_from_slice(&self.buffer[self.start..self.start + take]);
            self.start += take;
        }
        Ok(())
    }
}

const fn total(header: &Header) -> usize {
    HEADER_BYTES + header.meta_bytes as usize + header.data_bytes as usize
}

/// Bytes that make no sense end the connection.
pub(crate) fn invalid(error: sheepdog_proto::wire::WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
