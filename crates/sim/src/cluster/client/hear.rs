//! What a client hears: answers, refusals, and what became of an operator's command.

use sheepdog_engine::state::Outcome;
use sheepdog_engine::volume::{Answer, Refusal};
use sheepdog_proto::Generation;

use super::super::check::history::History;
use super::super::event::{Caller, Told};
use super::super::world::World;
use super::{MS, Phase};

impl World {
    /// The client hears something.
    pub(in super::super) fn handle_told(&mut self, caller: Caller, what: Told) {
        let client = caller.client;
        if let Told::Commanded { index } = what {
            self.handle_commanded(caller, index);
            return;
        }
        if self.clients[client].sessions != caller.session {
            return; // of a connection that is gone
        }
        match what {
            Told::Attached(result) => self.handle_attached(client, result),
            Told::Detached => {
                if self.clients[client].phase == Phase::Detaching {
                    self.end_session(client);
                }
            }
            Told::Answer { number, result } => self.handle_answer(client, number, &result),
            Told::Commanded { .. } => {}
        }
    }

    fn handle_attached(&mut self, client: usize, result: Result<Generation, Refusal>) {
        if self.clients[client].phase != Phase::Attaching {
            return;
        }
        let generation = match result {
            Ok(generation) => generation.0,
            Err(refusal) => {
                self.say(|| format!("client {client} is refused: {refusal}"));
                self.trace.count("attach refused");
                self.end_session(client);
                self.clients[client].rests_until = self.now + self.random.between(MS, 150 * MS);
                return;
            }
        };
        if self.is_outdated(client, generation) {
            // It would be told by its lease; there are none yet.
            self.trace.count("attach by an owner that does not know of its end");
            self.end_session(client);
            return;
        }
        let known = &mut self.clients[client];
        (known.generation, known.phase) = (generation, Phase::Open);
        let unanswered = std::mem::take(&mut known.pending);
        for (number, pending) in unanswered {
            self.clients[client].history.forget(number);
            self.trace.count("operation sent again by its client");
            self.submit_operation(client, pending); // V2
        }
    }

    /// The log has given the VDI to somebody else since.
    fn is_outdated(&self, client: usize, generation: u32) -> bool {
        let vid = self.clients[client].vid;
        let vdi = vid.and_then(|vid| self.log.newest().catalogue.get(vid));
        vdi.is_none_or(|vdi| vdi.generation.0 > generation)
    }

    fn handle_answer(&mut self, client: usize, number: u64, result: &Result<Answer, Refusal>) {
        self.say(|| {
            let what = match result {
                Ok(_) => "done".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            format!("client {client} hears of {number}: {what}")
        });
        if *result == Err(Refusal::Fenced) {
            self.trace.count("operation fenced");
            self.end_session(client);
            return;
        }
        let known = &mut self.clients[client];
        if known.pending.remove(&number).is_some() {
            self.trace.count("operations answered");
        }
        if let Err(what) = self.clients[client].history.answer(number, result) {
            self.blame(format!("client {client}: {what}"));
        }
    }

    /// An operator's command has had its effect, or none.
    fn handle_commanded(&mut self, caller: Caller, index: Option<usize>) {
        let known = &mut self.clients[caller.client];
        if caller.session == known.sessions && known.phase == Phase::Commanding {
            known.phase = Phase::Away;
        }
        let Some(index) = index else { return };
        if let Ok(Outcome::Created(vid)) = self.log.outcome(index) {
            known.vid = Some(*vid);
            return;
        }
        let is_deleted = known.vid.is_some_and(|v| self.log.newest().catalogue.get(v).is_none());
        if is_deleted {
            (known.vid, known.generation, known.grows) = (None, 0, None);
            known.history = History::default();
        } else if let Some(vdi) = known.vid.and_then(|v| self.log.state(index).catalogue.get(v)) {
            known.grows = Some((index, vdi.object_count()));
        }
    }
}
