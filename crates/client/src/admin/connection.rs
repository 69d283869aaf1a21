//! HTTP connections to one admin endpoint, kept open between requests.
//!
//! Holds:
//!   A1 a request that may have been carried out is sent again only if it changes nothing;
//!   A2 no answer is kept in memory beyond the limit given for it.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::AdminError;
use crate::endpoint::Endpoint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One request, before it has a connection.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
    /// Most bytes of an answer.
    pub(super) answer_max: u64,
}

/// Connections that wait for their next request.
#[derive(Debug)]
pub(super) struct Connections {
    endpoint: Endpoint,
    timeout: Option<Duration>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Connections {
    pub(super) const fn new(endpoint: Endpoint, timeout: Option<Duration>) -> Self {
        Self { endpoint, timeout, idle: Mutex::new(Vec::new()) }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Carries out one request. The status may be anything.
    pub(super) async fn exchange(&self, call: &Call) -> Result<(StatusCode, Bytes), AdminError> {
        let exchange = self.exchange_untimed(call);
        match self.timeout {
            None => exchange.await,
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err(AdminError::Silent {
                    endpoint: self.endpoint.clone(),
                    seconds: limit.as_secs(),
                }),
            },
        }
    }

    async fn exchange_untimed(&self, call: &Call) -> Result<(StatusCode, Bytes), AdminError> {
        if let Some(mut kept) = self.take_idle().await {
            match self.send(&mut kept, self.request(call)?).await {
                // The server closes idle connections when it likes, also at this moment.
                Err(error) if may_repeat(call, &error) => {}
                Err(error) => return Err(self.explain(&error)),
                Ok(answer) => return self.finish(kept, call, answer).await,
            }
        }
        let request = self.request(call)?;
        let mut fresh = self.connect().await?;
        match self.send(&mut fresh, request).await {
            Err(error) => Err(self.explain(&error)),
            Ok(answer) => self.finish(fresh, call, answer).await,
        }
    }

    async fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if kept.ready().await.is_ok() {
                return Some(kept);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, AdminError> {
        let unreachable =
            |source| AdminError::Unreachable { endpoint: self.endpoint.clone(), source };
        let connect = async {
            match &self.endpoint {
                Endpoint::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    start(stream).await
                }
                Endpoint::Unix(path) => start(UnixStream::connect(path).await?).await,
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(unreachable(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    async fn send(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        connection.ready().await?;
        connection.send_request(request).await
    }

    /// Fails for a host that cannot stand in a header.
    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, AdminError> {
        let host = match &self.endpoint {
            Endpoint::Tcp { .. } => self.endpoint.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        };
        let mut builder =
            Request::builder().method(&call.method).uri(&call.path).header(HOST, host);
        if let Some(content_type) = call.content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        builder.body(Full::new(call.body.clone())).map_err(|error| AdminError::Unreachable {
            endpoint: self.endpoint.clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })
    }

    async fn finish(
        &self,
        connection: SendRequest<Full<Bytes>>,
        call: &Call,
        answer: Response<Incoming>,
    ) -> Result<(StatusCode, Bytes), AdminError> {
        let status = answer.status();
        let limit = usize::try_from(call.answer_max).unwrap_or(usize::MAX);
        let collected = Limited::new(answer.into_body(), limit).collect().await;
        let body = collected.map_err(|error| AdminError::Broken {
            endpoint: self.endpoint.clone(),
            detail: error.to_string(),
        })?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok((status, body.to_bytes()))
    }

    fn explain(&self, error: &hyper::Error) -> AdminError {
        let endpoint = self.endpoint.clone();
        if error.is_parse() {
            return AdminError::Foreign { endpoint };
        }
        let mut detail = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            detail = format!("{detail}: {source}");
        }
        AdminError::Broken { endpoint, detail }
    }
}

async fn start<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The task ends with the connection; its error is seen by the request in flight.
    tokio::spawn(connection);
    Ok(sender)
}

fn may_repeat(call: &Call, error: &hyper::Error) -> bool {
    let never_sent = error.is_canceled();
    // A write that arrives late a second time could undo a newer one.
    let changes_nothing = call.method == Method::GET;
    never_sent || (changes_nothing && !error.is_parse()) // A1
}

#[cfg(test)]
#[path = "connection/tests.rs"]
mod tests;
