//! The coordination log: one list of commands, and the state after each.
//!
//! Way: `append` puts a command at the end; each life follows at its own pace (`control`).
//! Holds:
//!   LOG-ORDER every life sees the same entries in the same order; the state after an entry is
//!             made once, for it is the same for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use sheepdog_engine::state::{ClusterState, Outcome, Refused};
use sheepdog_proto::LogIndex;
use sheepdog_proto::command::Command;

#[derive(Debug)]
pub(super) struct Log {
    /// After each entry; the first is before all.
    states: Vec<Arc<ClusterState>>,
    outcomes: Vec<Result<Outcome, Refused>>,
    /// Nobody reaches it.
    pub(super) is_out: bool,
    /// Proposals that wait until it is back.
    pub(super) waiting: Vec<u64>,
    /// Lives whose will stands in it.
    pub(super) buried: BTreeSet<u64>,
}

impl Log {
    pub(super) fn new() -> Self {
        let (states, outcomes) = (vec![Arc::default()], vec![Ok(Outcome::Done)]);
        Self { states, outcomes, is_out: false, waiting: Vec::new(), buried: BTreeSet::new() }
    }

    /// Number of entries, which is the index of the last.
    pub(super) fn len(&self) -> usize {
        self.states.len() - 1
    }

    pub(super) fn newest(&self) -> &Arc<ClusterState> {
        self.state(self.len())
    }

    pub(super) fn state(&self, index: usize) -> &Arc<ClusterState> {
        &self.states[index]
    }

    pub(super) fn outcome(&self, index: usize) -> &Result<Outcome, Refused> {
        &self.outcomes[index]
    }

    /// Takes the bytes of a command, as every sheep would read them.
    pub(super) fn append(&mut self, command: &Command) -> &Result<Outcome, Refused> {
        let decoded = Command::decode(&command.encode()).expect("what was encoded is decoded");
        assert_eq!(decoded, *command, "a command is the same after encoding and decoding");
        let mut state = (**self.newest()).clone();
        let outcome = state.apply(LogIndex(self.len() as u64 + 1), &decoded);
        self.states.push(Arc::new(state));
        self.outcomes.push(outcome);
        self.outcome(self.len())
    }
}
