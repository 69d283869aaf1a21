//! Reaching the others before joining them.
//!
//! Why: a sheep that is up takes part in writes; one that some gateway cannot reach would hold
//!      them up, and be expelled again.
//! Way: everybody who is up is connected to, while the log is followed: who is gone need not be
//!      reached.

use std::time::{Duration, Instant};

use anyhow::Result;
use sheepdog_engine::state::Member;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::control::Control;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(100);
/// How often it is said for whom this sheep waits.
const SAY: Duration = Duration::from_secs(5);

/// Ends when every other sheep that is up has been reached.
pub(crate) async fn wait_for_all(control: &mut Control, uuid: u128) -> Result<()> {
    let mut said: Option<Instant> = None;
    loop {
        let missed = {
            let others = control.state().members.clone();
            let others = others.up().filter(|member| member.uuid != uuid).cloned().collect();
            control.meanwhile(first_missed(others)).await?
        };
        let Some(member) = missed else { return Ok(()) };
        if said.is_none_or(|said| said.elapsed() >= SAY) {
            said = Some(Instant::now());
            let (node, address) = (member.node.0, &member.addresses.peer);
            tracing::warn!(
                node,
                address,
                "this sheep does not reach node {node} at {address} and waits: writes would hang \
                 on it; mend the network, or stop the sheep of that node"
            );
        }
        control.meanwhile(sleep(RETRY)).await?;
    }
}

async fn first_missed(members: Vec<Member>) -> Option<Member> {
    for member in members {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(&member.addresses.peer)).await;
        if !matches!(connected, Ok(Ok(_))) {
            return Some(member);
        }
    }
    None
}
