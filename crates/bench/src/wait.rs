//! Waiting: always with a limit, always with a name.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Looks again and again until there is something.
///
/// # Errors
/// After `limit`, with what was waited for; what `look` returns.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await.with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Lets something take at most `limit`.
///
/// # Errors
/// After `limit`, with what it was; its own.
pub async fn within<T, E>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T>
where
    anyhow::Error: From<E>,
{
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(anyhow::Error::from).with_context(|| what.to_owned()),
        Err(_) => bail!("{what} took longer than {limit:?}"),
    }
}
