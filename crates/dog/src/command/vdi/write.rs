//! `dog vdi write`: stdin into a VDI.
//!
//! Holds:
//!   N1 what is told as written is durable, without a gap from the first byte.

mod source;

use hyper::body::Bytes;
use sheepdog_client::admin::AdminClient;
use sheepdog_proto::BLOCK_BYTES;

use super::data::{Access, Chunk, Request, Window, interrupted};
use crate::cli::VdiRead;
use crate::progress::Progress;
use crate::session::Session;
use crate::trouble::Trouble;
use source::{Piece, Source};

pub(crate) async fn run(options: &VdiRead) -> Result<(), Trouble> {
    let session = Session::open_formatted(&options.common).await?;
    let mut access = Access::open(session, &options.name).await?;
    let (offset, length) = access.range(options.offset, options.length)?;
    let mut copy = Copy { offset, length, exact: options.length.is_some(), done: 0 };
    let copied = tokio::select! {
        copied = copy.run(&mut access) => copied,
        _ = tokio::signal::ctrl_c() => Err(interrupted("not everything is written".to_owned())),
    };
    access.release().await;
    copied.map_err(|mut trouble| {
        let done = copy.done;
        trouble.message += &format!(" ({done} bytes from offset {offset} are written and durable)");
        trouble
    })
}

struct Copy {
    offset: u64,
    /// Bytes wanted (`exact`) or room.
    length: u64,
    exact: bool,
    /// Bytes from `offset` that are durable without a gap (N1).
    done: u64,
}

impl Copy {
    async fn run(&mut self, access: &mut Access) -> Result<(), Trouble> {
        let known = source::stdin_length();
        if !self.exact && known.is_some_and(|known| known > self.length) {
            return Err(self.too_long());
        }
        let mut progress = Progress::new(if self.exact { Some(self.length) } else { known });
        let mut source = Source::stdin(self.offset, self.length, !self.exact);
        let mut window = Window::new();
        // What ended the input: nothing is lost of the chunks before.
        let mut end: Option<Result<(), Trouble>> = None;
        loop {
            while end.is_none() && !window.is_full() {
                match source.next().await {
                    None => end = Some(Ok(())),
                    Some(Piece::Bytes(chunk, bytes)) => {
                        let name = access.vdi.name.clone();
                        let request = write(access.client(), name, chunk, bytes.clone());
                        window.start((chunk, bytes), request);
                    }
                    Some(Piece::Excess) => end = Some(Err(self.too_long())),
                    Some(Piece::Error(error)) => {
                        let message = format!("cannot read stdin: {error}");
                        end = Some(Err(Trouble::failure(message)));
                    }
                }
            }
            let Some(((chunk, bytes), answer)) = window.next().await else { break };
            if answer.is_err() {
                let name = access.vdi.name.clone();
                let repeat = |client| write(client, name.clone(), chunk, bytes.clone());
                access.ask(repeat).await?;
            }
            self.done += chunk.length;
            progress.add(chunk.length);
        }
        progress.finish();
        if self.exact && self.done < self.length && matches!(end, Some(Ok(()))) {
            let message = format!("stdin ended {} bytes too early", self.length - self.done);
            return Err(Trouble::failure(message));
        }
        end.unwrap_or(Ok(()))
    }

    fn too_long(&self) -> Trouble {
        let (room, offset) = (self.length, self.offset);
        Trouble::failure(format!("stdin is longer than the {room} bytes behind offset {offset}"))
            .hint("`dog vdi resize` makes the VDI larger; a LENGTH writes only so many bytes.")
    }
}

fn write(client: AdminClient, name: String, chunk: Chunk, bytes: Bytes) -> Request<()> {
    Box::pin(async move {
        if bytes.len() >= BLOCK_BYTES && bytes.iter().all(|byte| *byte == 0) {
            client.zero(&name, chunk.offset, chunk.length).await
        } else {
            client.write(&name, chunk.offset, bytes).await
        }
    })
}
