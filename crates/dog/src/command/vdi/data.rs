//! Data of a VDI over the admin API: cut into requests, several of them on the way at a time.
//!
//! Holds:
//!   D1 a range is checked against the size before anything is asked or written;
//!   D2 when another sheep has the VDI, the request is repeated there, once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use sheepdog_client::admin::types::{DATA_BYTES_MAX, ErrorCode, Vdi};
use sheepdog_client::admin::{AdminClient, AdminError};
use tokio::task::JoinHandle;

use crate::session::Session;
use crate::size;
use crate::trouble::{Exit, Trouble};

/// Requests on the way at a time.
pub(super) const WINDOW: usize = 4;

/// The VDI, and the sheep that serves it.
#[derive(Debug)]
pub(super) struct Access {
    session: Session,
    client: AdminClient,
    pub(super) vdi: Vdi,
}

/// One data request.
pub(super) type Request<T> = Pin<Box<dyn Future<Output = Result<T, AdminError>> + Send>>;

impl Access {
    pub(super) async fn open(session: Session, name: &str) -> Result<Self, Trouble> {
        let vdi = session.client.vdi(name).await?;
        Ok(Self { client: session.client.clone(), session, vdi })
    }

    /// The bytes that `offset` and `length` name.
    pub(super) fn range(&self, offset: u64, length: Option<u64>) -> Result<(u64, u64), Trouble> {
        let (name, size) = (&self.vdi.name, self.vdi.size);
        let past = |what: &str| {
            let human = size::human(size);
            Trouble::failure(format!("{what} lies past the end of VDI '{name}'")).hint(format!(
                "Its size is {size} bytes ({human}); `dog vdi resize` makes it larger."
            ))
        };
        let rest = size.checked_sub(offset).ok_or_else(|| past(&format!("offset {offset}")))?;
        let length = length.unwrap_or(rest);
        if length > rest {
            return Err(past(&format!("the end of {length} bytes from {offset}"))); // D1
        }
        Ok((offset, length))
    }

    /// The serving sheep.
    pub(super) fn client(&self) -> AdminClient {
        self.client.clone()
    }

    /// Carries out a request; if the VDI is open at another sheep, there.
    pub(super) async fn ask<T>(
        &mut self,
        request: impl Fn(AdminClient) -> Request<T>,
    ) -> Result<T, Trouble> {
        let error = match request(self.client()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let locked = error.failure().filter(|failure| failure.code == ErrorCode::Locked);
        let holder = locked.and_then(|failure| failure.holder.clone());
        let Some(holder) = holder else { return Err(error.into()) };
        let elsewhere = self.session.client_at(&holder.admin);
        let Ok(elsewhere) = elsewhere else { return Err(error.into()) };
        if elsewhere.endpoint() == self.client.endpoint() {
            return Err(error.into());
        }
        let answer = request(elsewhere.clone()).await.map_err(|second| match second {
            AdminError::Unreachable { .. } => Trouble::from(error)
                .context(format!("its sheep at {} cannot be reached from here", holder.admin)),
            second => second.into(),
        })?; // D2
        self.client = elsewhere;
        Ok(answer)
    }

    /// Lets go of the VDI, so that the next user need not wait. It ends by itself too, so a
    /// failure here costs nothing but a few seconds.
    pub(super) async fn release(&self) {
        let _ = self.client.release(&self.vdi.name).await;
    }
}

/// Bytes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Chunk {
    /// The first request of a range: it ends where an object may begin, so that later ones are
    /// aligned.
    pub(super) const fn first(offset: u64, length: u64) -> Self {
        let room = DATA_BYTES_MAX - offset % DATA_BYTES_MAX;
        Self { offset, length: if length < room { length } else { room } }
    }
}

/// Requests that are on the way, in order, each with what it is about.
#[derive(Debug)]
pub(super) struct Window<C, T> {
    requests: VecDeque<(C, JoinHandle<Result<T, AdminError>>)>,
}

impl<C: Clone, T: Send + 'static> Window<C, T> {
    pub(super) const fn new() -> Self {
        Self { requests: VecDeque::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= WINDOW
    }

    pub(super) fn start(&mut self, about: C, request: Request<T>) {
        self.requests.push_back((about, tokio::spawn(request)));
    }

    /// The end of the oldest request; `None` if there is none.
    pub(super) async fn next(&mut self) -> Option<(C, Result<T, AdminError>)> {
        let (about, handle) = self.requests.front_mut()?;
        let about = about.clone();
        // A request panics only by a mistake in this program, which must be seen.
        let answer =
            handle.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.requests.pop_front();
        Some((about, answer))
    }
}

impl<C, T> Drop for Window<C, T> {
    fn drop(&mut self) {
        self.requests.iter().for_each(|(_, handle)| handle.abort());
    }
}

/// What is told when the user stops a transfer.
pub(super) fn interrupted(what: String) -> Trouble {
    Trouble::new(Exit::Interrupted, format!("interrupted: {what}"))
}

#[cfg(test)]
#[path = "data/tests.rs"]
mod tests;
