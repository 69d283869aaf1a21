//! The admin API: what `dog`, scripts and Prometheus ask. Words are in `client::admin::types`.
//!
//! Way: axum on the control thread, over TCP and a unix socket; data requests are calls to the
//!      shard of the VDI.
//! Holds: every failure is a `Failure` with a code, a sentence, and what to do next.

mod check;
mod cluster;
mod data;
mod disk;
mod failure;
mod node;
mod unlock;
mod vdi;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use sheepdog_client::admin::types::DATA_BYTES_MAX;
use sheepdog_engine::state::ClusterState;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

use crate::control::{Control, Watch};
use crate::disks::DiskWatch;
use crate::shard::Shard;
use crate::shard::mail::Mail;
use crate::shared::Shared;
use failure::AdminError;

/// What every handler knows.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    watch: Watch,
    disks: DiskWatch,
    directory: PathBuf,
}

type Handler = axum::extract::State<Arc<Admin>>;

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>, control: &Control, directory: PathBuf) -> Arc<Self> {
        let (watch, disks) = (control.watch(), control.disks().watch());
        Arc::new(Self { shared, watch, disks, directory })
    }

    /// Serves both sockets until the process ends.
    pub(crate) fn spawn(self: Arc<Self>, (tcp, unix): (TcpListener, UnixListener)) {
        let router = router(self);
        let for_tcp = router.clone();
        tokio::spawn(async move {
            loop {
                match tcp.accept().await {
                    Ok((stream, _)) => converse(for_tcp.clone(), stream),
                    Err(error) => pause(&error).await,
                }
            }
        });
        tokio::spawn(async move {
            loop {
                match unix.accept().await {
                    Ok((stream, _)) => converse(router.clone(), stream),
                    Err(error) => pause(&error).await,
                }
            }
        });
    }

    fn state(&self) -> Arc<ClusterState> {
        self.watch.state()
    }

    /// Runs something on a shard's thread and waits for what it tells.
    async fn on_shard<T: Send + 'static>(
        &self,
        shard: usize,
        call: impl FnOnce(Rc<Shard>, oneshot::Sender<T>) + Send + 'static,
    ) -> Result<T, AdminError> {
        let (sender, receiver) = oneshot::channel();
        self.shared.mail(shard, Mail::Call(Box::new(move |shard| call(shard, sender))));
        receiver.await.map_err(|_| AdminError::stopping())
    }
}

fn router(admin: Arc<Admin>) -> Router {
    let body_max = DATA_BYTES_MAX as usize + (64 << 10);
    Router::new()
        .route("/v1/cluster", get(cluster::info))
        .route("/v1/cluster/format", post(cluster::format))
        .route("/v1/cluster/shutdown", post(cluster::shutdown))
        .route("/v1/nodes", get(node::list))
        .route("/v1/node", get(node::info))
        .route("/v1/checkpoint", post(node::checkpoint))
        .route("/v1/node/disks", get(disk::list).post(disk::plug).delete(disk::unplug))
        .route("/v1/objects/{oid}", get(node::object))
        .route("/v1/vdis", get(vdi::list).post(vdi::create))
        .route("/v1/vdis/{name}", get(vdi::one).delete(vdi::delete))
        .route("/v1/vdis/{name}/resize", post(vdi::resize))
        .route("/v1/vdis/{name}/release", post(data::release))
        .route("/v1/vdis/{name}/unlock", post(unlock::unlock))
        .route("/v1/vdis/{name}/data", get(data::read).put(data::write).delete(data::zero))
        .route("/v1/vdis/{name}/objects/{index}", get(vdi::object))
        .route("/v1/vdis/{name}/check", post(check::check))
        .route("/metrics", get(node::metrics))
        .fallback(failure::unknown_path)
        .layer(DefaultBodyLimit::max(body_max))
        .with_state(admin)
}

fn converse<S>(router: Router, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let service = TowerToHyperService::new(router);
        let builder = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        // A client that breaks off is its own affair.
        let _ = builder.http1_only().serve_connection(TokioIo::new(stream), service).await;
    });
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept an admin connection");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}
