//! The admin API: its words and its HTTP client.
//!
//! Way: `dog` and the playground use [`AdminClient`]; `sheep` serves the same [`types`].
//! Not here: the server (sheep); repeating a request at the holder of a lock (dog).

mod connection;
pub mod types;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::endpoint::Endpoint;
use connection::{Call, Connections};
use types::{
    CheckRange, Cluster, Disk, DiskRequest, ErrorCode, Failure, FormatRequest, NewVdi, Node,
    NodeInfo, ObjectPlace, ResizeRequest, Unlock, Vdi, VdiCheck,
};

/// Largest JSON or text answer that is accepted.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Why a request had no success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// No connection: nothing was asked.
    #[error("cannot connect to {endpoint}: {source}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: std::io::Error,
    },
    /// Something answers there, but not in HTTP.
    #[error("{endpoint} does not speak the admin API")]
    Foreign {
        /// Where.
        endpoint: Endpoint,
    },
    /// No answer in time. The request may still be carried out.
    #[error("{endpoint} gave no answer within {seconds} s")]
    Silent {
        /// Where.
        endpoint: Endpoint,
        /// The limit.
        seconds: u64,
    },
    /// The connection ended before the answer. The request may have been carried out.
    #[error("the connection to {endpoint} broke: {detail}")]
    Broken {
        /// Where.
        endpoint: Endpoint,
        /// How.
        detail: String,
    },
    /// The answer makes no sense.
    #[error("{endpoint} gave an answer that cannot be understood: {detail}")]
    Garbled {
        /// Where.
        endpoint: Endpoint,
        /// What is wrong with it.
        detail: String,
    },
    /// The sheep says no.
    #[error("{0}")]
    Refused(Failure),
}

impl AdminError {
    /// The refusal, if it is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) => Some(failure),
            _ => None,
        }
    }
}

/// What a range of a VDI holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The bytes.
    Bytes(Bytes),
    /// Nothing was written there: zeros.
    Hole,
}

/// Client of one sheep's admin API. Clones share connections; requests may run side by side.
#[derive(Clone, Debug)]
pub struct AdminClient {
    connections: Arc<Connections>,
}

impl AdminClient {
    /// A client that connects at its first request. A request that takes longer than `timeout`
    /// ends with [`AdminError::Silent`]; `None` waits for ever.
    #[must_use]
    pub fn new(endpoint: Endpoint, timeout: Option<Duration>) -> Self {
        Self { connections: Arc::new(Connections::new(endpoint, timeout)) }
    }

    /// Where it connects to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.connections.endpoint()
    }

    /// State of the cluster.
    ///
    /// # Errors
    /// See [`AdminError`]; so for every other request.
    pub async fn cluster(&self) -> Result<Cluster, AdminError> {
        self.get("/v1/cluster".to_owned()).await
    }

    /// Makes the cluster.
    ///
    /// # Errors
    /// `not-empty` without `force` if there are VDIs; `already-formatted`; `too-few-zones`.
    pub async fn format(&self, request: &FormatRequest) -> Result<Cluster, AdminError> {
        self.send(Method::POST, "/v1/cluster/format".to_owned(), request).await
    }

    /// Stops every sheep in order. On return the command stands in the log.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn shutdown(&self) -> Result<(), AdminError> {
        self.empty(Method::POST, "/v1/cluster/shutdown".to_owned()).await
    }

    /// Makes this sheep put everything in place that only the logs of its stores have; done on
    /// return. Nothing becomes more durable by it.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn checkpoint(&self) -> Result<(), AdminError> {
        self.empty(Method::POST, "/v1/checkpoint".to_owned()).await
    }

    /// Every sheep that ever joined, by number.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn nodes(&self) -> Result<Vec<Node>, AdminError> {
        self.get("/v1/nodes".to_owned()).await
    }

    /// The store of the sheep that answers.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn node(&self) -> Result<NodeInfo, AdminError> {
        self.get("/v1/node".to_owned()).await
    }

    /// The disks of the sheep that answers.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn disks(&self) -> Result<Vec<Disk>, AdminError> {
        self.get("/v1/node/disks".to_owned()).await
    }

    /// Puts an empty directory in as a disk of the sheep that answers; durable on return. What
    /// belongs on it moves there afterwards. A disk that was about to leave stays.
    ///
    /// # Errors
    /// `invalid`, `exists`.
    pub async fn plug(&self, path: &str) -> Result<(), AdminError> {
        self.order_disk(Method::POST, path).await
    }

    /// Begins to take a disk out: what is on it moves away, then it is let go.
    ///
    /// # Errors
    /// `not-found`; `invalid` for the last disk, or one that failed and is needed; `no-space`.
    pub async fn unplug(&self, path: &str) -> Result<(), AdminError> {
        self.order_disk(Method::DELETE, path).await
    }

    async fn order_disk(&self, method: Method, path: &str) -> Result<(), AdminError> {
        let mut call = Call::new(method, "/v1/node/disks".to_owned());
        call.content_type = Some("application/json");
        let request = DiskRequest { path: path.to_owned() };
        let body = serde_json::to_vec(&request).map_err(|error| self.garbled(error.to_string()))?;
        call.body = Bytes::from(body);
        self.done(&call).await
    }

    /// Every VDI, by vid.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn vdis(&self) -> Result<Vec<Vdi>, AdminError> {
        self.get("/v1/vdis".to_owned()).await
    }

    /// One VDI.
    ///
    /// # Errors
    /// `not-found`.
    pub async fn vdi(&self, name: &str) -> Result<Vdi, AdminError> {
        self.get(vdi_path(name, "")).await
    }

    /// Makes an empty VDI.
    ///
    /// # Errors
    /// `exists`, `invalid`, `too-few-zones`, `not-formatted`.
    pub async fn create(&self, request: &NewVdi) -> Result<Vdi, AdminError> {
        self.send(Method::POST, "/v1/vdis".to_owned(), request).await
    }

    /// Deletes a VDI.
    ///
    /// # Errors
    /// `not-found`, `locked`.
    pub async fn delete(&self, name: &str) -> Result<(), AdminError> {
        self.empty(Method::DELETE, vdi_path(name, "")).await
    }

    /// Makes a VDI larger.
    ///
    /// # Errors
    /// `not-found`, `shrink`, `invalid`.
    pub async fn resize(&self, name: &str, size: u64) -> Result<Vdi, AdminError> {
        self.send(Method::POST, vdi_path(name, "/resize"), &ResizeRequest { size }).await
    }

    /// Lets go of a VDI that data requests to this sheep have opened.
    ///
    /// # Errors
    /// `not-found`.
    pub async fn release(&self, name: &str) -> Result<(), AdminError> {
        self.empty(Method::POST, vdi_path(name, "/release")).await
    }

    /// Takes a VDI from whoever has it open, through any sheep: its connections are closed, and
    /// what they were told is durable. Free on return.
    ///
    /// # Errors
    /// `not-found`; `locked` if it is open through a sheep that does not answer, or through another
    /// one than the asked and `here` was given.
    pub async fn unlock(&self, name: &str, unlock: Unlock) -> Result<(), AdminError> {
        let path = vdi_path(name, &format!("/unlock?here={}", unlock.here));
        self.empty(Method::POST, path).await
    }

    /// Reads at most [`types::DATA_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// `locked` with the holder to ask instead; `invalid` beyond the end; `io`.
    pub async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Data, AdminError> {
        let path = vdi_path(name, &format!("/data?offset={offset}&length={length}"));
        let mut call = Call::new(Method::GET, path);
        call.answer_max = length.max(1 << 20);
        let (status, bytes) = self.connections.exchange(&call).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Data::Hole);
        }
        let bytes = self.accept(status, bytes)?;
        if bytes.len() as u64 != length {
            return Err(self.garbled(format!("{} bytes instead of {length}", bytes.len())));
        }
        Ok(Data::Bytes(bytes))
    }

    /// Writes at most [`types::DATA_BYTES_MAX`] bytes. They are durable on return.
    ///
    /// # Errors
    /// `locked` with the holder to ask instead; `invalid` beyond the end; `no-space`; `io`.
    pub async fn write(&self, name: &str, offset: u64, bytes: Bytes) -> Result<(), AdminError> {
        let mut call = Call::new(Method::PUT, vdi_path(name, &format!("/data?offset={offset}")));
        call.content_type = Some("application/octet-stream");
        call.body = bytes;
        self.done(&call).await
    }

    /// Makes a range read as zeros, durably; whole objects are given back.
    ///
    /// # Errors
    /// As for [`AdminClient::write`].
    pub async fn zero(&self, name: &str, offset: u64, length: u64) -> Result<(), AdminError> {
        let path = vdi_path(name, &format!("/data?offset={offset}&length={length}"));
        self.empty(Method::DELETE, path).await
    }

    /// Where one data object is.
    ///
    /// # Errors
    /// `not-found`; `invalid` for an index beyond the end.
    pub async fn object(&self, name: &str, index: u32) -> Result<ObjectPlace, AdminError> {
        self.get(vdi_path(name, &format!("/objects/{index}"))).await
    }

    /// Reads, verifies and compares the asked sheep's copies of some objects of a VDI.
    ///
    /// # Errors
    /// `not-found`; `invalid` for more than [`types::CHECK_OBJECTS_MAX`] objects.
    pub async fn check(&self, name: &str, range: CheckRange) -> Result<VdiCheck, AdminError> {
        let CheckRange { from, count } = range;
        let path = vdi_path(name, &format!("/check?from={from}&count={count}"));
        self.send(Method::POST, path, &()).await
    }

    /// Whether the asked sheep's own store has an object; `oid` is 16 hexadecimal digits.
    ///
    /// # Errors
    /// `invalid` if it is no object id.
    pub async fn holds(&self, oid: &str) -> Result<bool, AdminError> {
        self.get(format!("/v1/objects/{oid}")).await
    }

    /// Metrics in Prometheus text.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn metrics(&self) -> Result<String, AdminError> {
        let call = Call::new(Method::GET, "/metrics".to_owned());
        let (status, bytes) = self.connections.exchange(&call).await?;
        let bytes = self.accept(status, bytes)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| self.garbled(error.to_string()))
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, AdminError> {
        self.json(&Call::new(Method::GET, path)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, AdminError> {
        let mut call = Call::new(method, path);
        call.content_type = Some("application/json");
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(error.to_string()))?;
        call.body = Bytes::from(body);
        self.json(&call).await
    }

    async fn empty(&self, method: Method, path: String) -> Result<(), AdminError> {
        self.done(&Call::new(method, path)).await
    }

    async fn done(&self, call: &Call) -> Result<(), AdminError> {
        let (status, bytes) = self.connections.exchange(call).await?;
        self.accept(status, bytes).map(drop)
    }

    async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, AdminError> {
        let (status, bytes) = self.connections.exchange(call).await?;
        let bytes = self.accept(status, bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| self.garbled(error.to_string()))
    }

    fn accept(&self, status: StatusCode, bytes: Bytes) -> Result<Bytes, AdminError> {
        if status.is_success() {
            return Ok(bytes);
        }
        let failure = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            let code = match status {
                StatusCode::NOT_FOUND => ErrorCode::NotFound,
                _ => ErrorCode::Unknown,
            };
            let message = format!("{} answers HTTP {status} {text}", self.endpoint());
            Failure { code, message: message.trim_end().to_owned(), hint: None, holder: None }
        });
        Err(AdminError::Refused(failure))
    }

    fn garbled(&self, detail: String) -> AdminError {
        AdminError::Garbled { endpoint: self.endpoint().clone(), detail }
    }
}

impl Call {
    const fn new(method: Method, path: String) -> Self {
        let body = Bytes::new();
        Self { method, path, content_type: None, body, answer_max: TEXT_BYTES_MAX }
    }
}

/// Path of a VDI: every byte of the name but unreserved characters is percent-encoded.
fn vdi_path(name: &str, rest: &str) -> String {
    let mut path = String::from("/v1/vdis/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path + rest
}
