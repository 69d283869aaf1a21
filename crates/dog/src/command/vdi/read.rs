//! `dog vdi read`: the data of a VDI to stdout.

mod sink;

use sheepdog_client::admin::types::DATA_BYTES_MAX;
use sheepdog_client::admin::{AdminClient, Data};

use super::data::{Access, Chunk, Request, Window, interrupted};
use crate::cli::VdiRead;
use crate::progress::Progress;
use crate::session::Session;
use crate::trouble::Trouble;
use sink::Sink;

pub(crate) async fn run(options: &VdiRead) -> Result<(), Trouble> {
    let session = Session::open_formatted(&options.common).await?;
    let mut access = Access::open(session, &options.name).await?;
    let (offset, length) = access.range(options.offset, options.length)?;
    let copied = tokio::select! {
        copied = copy(&mut access, offset, length) => copied,
        _ = tokio::signal::ctrl_c() => Err(interrupted("the output is not complete".to_owned())),
    };
    access.release().await;
    copied
}

async fn copy(access: &mut Access, offset: u64, length: u64) -> Result<(), Trouble> {
    let unwritable = |error: std::io::Error| Trouble::failure(format!("cannot write: {error}"));
    let mut sink = Sink::stdout().map_err(unwritable)?;
    let mut progress = Progress::new(Some(length));
    let mut window = Window::new();
    let end = offset + length;
    let mut next = offset;
    loop {
        while !window.is_full() && next < end {
            let chunk = Chunk::first(next, end - next);
            window.start(chunk, read(access.client(), access.vdi.name.clone(), chunk));
            next += chunk.length;
        }
        let Some((chunk, answer)) = window.next().await else { break };
        let data = match answer {
            Ok(data) => data,
            Err(_) => {
                let name = access.vdi.name.clone();
                let repeat = |client| read(client, name.clone(), chunk);
                access.ask(repeat).await?
            }
        };
        match data {
            Data::Bytes(bytes) => sink.write(&bytes).map_err(unwritable)?,
            Data::Hole => sink.zeros(chunk.length).map_err(unwritable)?,
        }
        progress.add(chunk.length);
    }
    sink.finish().map_err(unwritable)?;
    progress.finish();
    Ok(())
}

fn read(client: AdminClient, name: String, chunk: Chunk) -> Request<Data> {
    debug_assert!(chunk.length <= DATA_BYTES_MAX);
    Box::pin(async move { client.read(&name, chunk.offset, chunk.length).await })
}
