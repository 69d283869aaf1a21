//! The end of a sheep: in order when it was asked to stop, at once when going on would be wrong.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use sheepdog_cluster::LogError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::control::HeldForGone;
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

/// Before another life; whoever is asked to end until then ends.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

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

/// Whether the others go on without this life, so that only another one can take part again.
pub(crate) fn is_held_for_gone(error: &anyhow::Error) -> bool {
    let has_ended = |error: &LogError| matches!(error, LogError::SessionEnded { .. });
    error.chain().any(|cause| {
        cause.is::<HeldForGone>() || cause.downcast_ref::<LogError>().is_some_and(has_ended)
    })
}

/// Begins another life in the place of this one: the same program with the same arguments. Locks
/// and sockets are closed by that; what is under way to the disks is ended or done before. One
/// whose service manager keeps its sockets is started again by that.
pub(crate) fn start_again(why: &anyhow::Error) -> ! {
    if crate::inherited::is_given() {
        die(&format!("{why:#}; the service manager must start it again"));
    }
    tracing::error!(%why, "this sheep starts again");
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "sheep".into());
    let error = Command::new("/proc/self/exe").arg0(name).args(arguments).exec();
    die(&format!("{why:#}; it could not start again: {error}"))
}

/// Ends the process because going on could do harm. The others see the session end, and the log
/// says that this sheep is gone.
pub(crate) fn die(why: &str) -> ! {
    tracing::error!(why, "this sheep cannot go on");
    eprintln!("sheep: {why}");
    std::process::exit(70);
}
