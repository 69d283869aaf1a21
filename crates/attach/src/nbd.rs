//! NBD: a VDI as a network block device, over a unix socket or TCP.
//!
//! Why: stock QEMU, libvirt, Proxmox, the Linux kernel and libnbd speak it; nothing of ours has to
//!      be installed where the VM runs.
//! Way: `sheep` accepts and calls [`serve`]; `negotiate` ends with an open `export`;
//!      `session` then reads requests, `job` carries them through the door, `outbox` writes
//!      the replies. `option` and `frame` are the bytes: `docs/formats/nbd.md`.
//! Holds:
//!   P1 the export's name is the VDI's name, and an export is the VDI's size at its opening;
//!   P2 a client that ends in order frees the VDI at once, unless another of its connections
//!      lives; after any other end the idle rule of [`crate::opener`] frees it.
//! Not here: TLS, extended headers, snapshots as exports.

mod export;
mod frame;
mod job;
mod negotiate;
mod option;
mod outbox;
mod refusal;
mod session;
mod stream;

use std::io;
use std::time::{Duration, Instant};

use sheepdog_proto::Vid;

use crate::door::{Door, Face, Parcel, Socket, Stage};
use export::Presence;
use negotiate::{End, Negotiation, Terms};
use stream::Stream;

/// How long the socket of a client that said good-bye stays open for its VDI to become free.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// Serves an accepted connection to its end. Runs on the accepting shard's own runtime, which
/// must have its I/O and time drivers on; needs no task besides its own.
///
/// A connection that opens a VDI of another shard ends here with [`Door::hand_over`].
pub async fn serve<D: Door>(door: D, socket: Socket) {
    let accepted = Stream::adopt(socket).and_then(|stream| Ok((stream.origin()?, stream)));
    let (origin, stream) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return tracing::debug!(%error, "an NBD client was lost at once"),
    };
    let connection = door.openers().connect(Face::Nbd, origin);
    let presence = Presence::new(&door, connection);
    let terms = Terms::default();
    let mut negotiation = Negotiation { door, stream, presence, unread: Vec::new(), terms };
    match negotiation.greet().await {
        Ok(()) => go_on(negotiation).await,
        Err(error) => report(&error, "an NBD client ended before its first option"),
    }
}

/// Goes on with a connection whose negotiation led to a VDI of this shard.
pub(crate) async fn resume<D: Door>(door: D, parcel: Parcel) {
    let Parcel { socket, unread, connection, stage } = parcel;
    let presence = Presence::new(&door, connection);
    let Stage::Nbd { no_zeroes, structured, context } = stage else { return };
    let terms = Terms { no_zeroes, structured, context };
    match Stream::adopt(socket) {
        Ok(stream) => go_on(Negotiation { door, stream, presence, unread, terms }).await,
        Err(error) => report(&error, "an NBD client was lost between two shards"),
    }
}

async fn go_on<D: Door>(mut negotiation: Negotiation<D>) {
    let end = negotiation.run().await;
    let Negotiation { door, stream, presence, unread, terms } = negotiation;
    match end {
        Ok(End::Close) => {}
        Ok(End::HandOver(shard)) => {
            let socket = match stream.release() {
                Ok(socket) => socket,
                Err(error) => return report(&error, "an NBD client was lost between two shards"),
            };
            let Some(connection) = presence.pass_on() else { return };
            let Terms { no_zeroes, structured, context } = terms;
            let stage = Stage::Nbd { no_zeroes, structured, context };
            door.hand_over(shard, Parcel { socket, unread, connection, stage });
        }
        Ok(End::Transmit(export)) => {
            let (vid, since) = (export.vid, Instant::now());
            tracing::info!(%vid, structured = export.structured, "NBD client connected");
            let expelled = presence.expelled();
            let end = session::transmit(door, export, &stream, &unread, &expelled).await;
            let seconds = since.elapsed().as_secs();
            match end {
                Ok(true) => {
                    tracing::info!(%vid, seconds, "NBD client disconnected");
                    leave(presence, vid, stream).await;
                }
                Ok(false) => tracing::info!(%vid, seconds, "NBD client ended abruptly"),
                Err(error) => tracing::info!(%vid, seconds, %error, "NBD connection failed"),
            }
        }
        Err(error) => report(&error, "NBD negotiation failed"),
    }
}

/// Frees the VDI, then closes the socket: a client that waits for the end finds the VDI free.
/// If the log is slow, the client does not wait for it.
async fn leave<D: Door>(presence: Presence<D>, vid: Vid, stream: Stream) {
    let mut leaving = std::pin::pin!(presence.leave(vid)); // P2
    tokio::select! {
        () = &mut leaving => return,
        () = tokio::time::sleep(LEAVE_TIME) => {}
    }
    drop(stream);
    leaving.await;
}

fn report(error: &io::Error, what: &str) {
    tracing::debug!(%error, "{what}");
}

#[cfg(test)]
#[path = "nbd/tests.rs"]
mod tests;
