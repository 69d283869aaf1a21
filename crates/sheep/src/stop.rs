//! The end of a sheep: in order when it was asked to stop, at once when going on would be wrong.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::shard::mail::Mail;
use crate::shared::Shared;

/// How long clients' last operations may take at an orderly end.
const DRAIN: Duration = Duration::from_secs(10);

/// Ends when the operator asks the process to end.
pub(crate) async fn asked() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// Lets go of every VDI, so that other sheep can serve it without reconciling anything.
pub(crate) async fn drain(shared: &Shared) {
    let mut waiting = Vec::new();
    for shard in 0..shared.shards.len() {
        let (sender, receiver) = oneshot::channel();
        shared.mail(shard, Mail::Stop(sender));
        waiting.push(receiver);
    }
    let all = async {
        for receiver in waiting {
            let _ = receiver.await;
        }
    };
    if timeout(DRAIN, all).await.is_err() {
        tracing::warn!("operations of clients did not end in time; they will be reconciled");
    }
}

/// Ends the process because going on could do harm. The others see the session end, and the log
/// says that this sheep is gone.
pub(crate) fn die(why: &str) -> ! {
    tracing::error!(why, "this sheep cannot go on");
    eprintln!("sheep: {why}");
    std::process::exit(70);
}
