//! Session: the sheep that a command asks, and its neighbours.

use std::collections::BTreeMap;
use std::time::Duration;

use sheepdog_client::admin::types::{Cluster, ClusterStatus, ErrorCode, Node, NodeInfo};
use sheepdog_client::admin::{AdminClient, AdminError};
use sheepdog_client::endpoint::Endpoint;
use tokio::task::JoinSet;

use crate::cli::{Address, Common};
use crate::trouble::Trouble;

/// How far the admin port lies above the client port by default. Tools made for the first
/// Sheepdog (libvirt's pool among them) always name the client port.
const ADMIN_PORT_DISTANCE: u16 = 2;

/// Most seconds to wait for a neighbour: one that is dead must not hold up a listing.
const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(5);

/// A sheep that has answered.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Its client.
    pub(crate) client: AdminClient,
    /// What it said of the cluster.
    pub(crate) cluster: Cluster,
    timeout: Option<Duration>,
}

impl Session {
    /// Asks the sheep that the options name for the state of the cluster.
    pub(crate) async fn open(common: &Common) -> Result<Self, Trouble> {
        let timeout = match common.timeout {
            0 => None,
            seconds => Some(Duration::from_secs(u64::from(seconds))),
        };
        let endpoint = match &common.address {
            Address::Host(host) => Endpoint::Tcp { host: host.clone(), port: common.port },
            Address::Unix(path) => Endpoint::Unix(path.clone()),
        };
        let client = AdminClient::new(endpoint.clone(), timeout);
        let first = match client.cluster().await {
            Ok(cluster) => return Ok(Self { client, cluster, timeout }),
            Err(error) => error,
        };
        // A client port answers an HTTP request with its own error or by closing.
        let foreign = matches!(first, AdminError::Foreign { .. } | AdminError::Broken { .. });
        if let (true, Some(beside)) = (foreign, admin_port_beside(&endpoint)) {
            let client = AdminClient::new(beside, timeout);
            if let Ok(cluster) = client.cluster().await {
                return Ok(Self { client, cluster, timeout });
            }
        }
        Err(first.into())
    }

    /// As [`Session::open`], but the cluster must have a format.
    pub(crate) async fn open_formatted(common: &Common) -> Result<Self, Trouble> {
        let session = Self::open(common).await?;
        if session.cluster.status == ClusterStatus::WaitingForFormat {
            let mut trouble = Trouble::failure("the cluster is not formatted yet")
                .hint("Format it with `dog cluster format`.");
            trouble.code = Some(ErrorCode::NotFormatted);
            return Err(trouble);
        }
        Ok(session)
    }

    /// A client for another admin address, as a sheep writes it.
    pub(crate) fn client_at(&self, admin: &str) -> Result<AdminClient, String> {
        let endpoint: Endpoint = admin.parse().map_err(str::to_owned)?;
        Ok(AdminClient::new(endpoint, self.timeout))
    }

    /// What each node that is up says of its store, by number; the others with the reason.
    pub(crate) async fn survey(&self, nodes: &[Node]) -> Survey {
        let mut survey = Survey::default();
        let mut asked = JoinSet::new();
        for node in nodes {
            if !node.up {
                survey.down.insert(node.node, format!("{} is down", title(node)));
                continue;
            }
            let client = if node.this {
                Ok(self.client.clone())
            } else {
                self.client_at(&node.addresses.admin)
            };
            let node = node.clone();
            asked.spawn(async move {
                let answer = match client {
                    Err(reason) => Err(reason),
                    Ok(client) => {
                        match tokio::time::timeout(NEIGHBOUR_TIMEOUT, client.node()).await {
                            Ok(answer) => answer.map_err(|error| error.to_string()),
                            Err(_) => Err("no answer".to_owned()),
                        }
                    }
                };
                (node, answer)
            });
        }
        for (node, answer) in asked.join_all().await {
            match answer {
                Ok(info) => drop(survey.nodes.insert(node.node, info)),
                Err(reason) => {
                    let line = format!("{} cannot be asked: {reason}", title(&node));
                    survey.silent.insert(node.node, line);
                }
            }
        }
        survey
    }
}

/// How a node is named to people.
pub(crate) fn title(node: &Node) -> String {
    format!("node {} ({})", node.node, host_port(node))
}

/// What the first Sheepdog printed as the name of a node: where its clients connect to.
pub(crate) fn host_port(node: &Node) -> &str {
    let Node { addresses, .. } = node;
    let known = [&addresses.legacy, &addresses.peer, &addresses.admin];
    known.into_iter().find(|address| !address.is_empty()).map_or("-", String::as_str)
}

/// The stores of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Of the nodes that answered.
    pub(crate) nodes: BTreeMap<u16, NodeInfo>,
    /// A line on each node that is known to be down: others count its objects in its place.
    pub(crate) down: BTreeMap<u16, String>,
    /// A line on each node that should have answered and did not.
    pub(crate) silent: BTreeMap<u16, String>,
}

fn admin_port_beside(endpoint: &Endpoint) -> Option<Endpoint> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let port = port.checked_add(ADMIN_PORT_DISTANCE)?;
            Some(Endpoint::Tcp { host: host.clone(), port })
        }
        Endpoint::Unix(_) => None,
    }
}
