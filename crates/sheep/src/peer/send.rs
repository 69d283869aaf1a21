//! Writes messages: all that wait in as few system calls as possible, payloads without a copy.

use std::io::{self, IoSlice};

use sheepdog_proto::Payload;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Most slices given to one system call.
const SLICES_MAX: usize = 128;

/// Header with metadata, and what follows it.
pub(super) type Outgoing = (Vec<u8>, Option<Payload>);

/// Writes messages one behind the other.
pub(super) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    messages: &[Outgoing],
) -> io::Result<()> {
    let parts: Vec<&[u8]> = messages
        .iter()
        .flat_map(|(head, payload)| [head.as_slice(), payload.as_deref().unwrap_or_default()])
        .filter(|part| !part.is_empty())
        .collect();
    for chunk in parts.chunks(SLICES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = chunk.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let count = stream.write_vectored(left).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, count);
        }
    }
    Ok(())
}
