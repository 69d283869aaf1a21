//! Model: one placement group, one block, every order of events.
//!
//! Why: the data path's safety rests on a dozen rules that are each easy to leave out.
//! Way: [`config`] bounds a run; [`action`] lists the possible steps of a [`state`], each judged
//!      by [`right`]; [`step`] takes them; [`property`] says what must hold; [`run`] walks.
//!      [`control`] is the log's state, [`register`] what clients may see.
//! Not here: several blocks or groups, the map, disks that lose what they made durable.

pub mod action;
pub mod config;
pub mod control;
pub mod property;
pub mod register;
pub mod right;
pub mod run;
pub mod state;
pub mod step;

use stateright::{Model, Property};

pub use action::Action;
pub use config::{Bounds, Config, Rule, Rules};
pub use run::{Counterexample, Outcome, check, find};
pub use state::State;

/// The model as the checker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Bounds and rules.
    pub config: Config,
}

impl Model for Placement {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.config)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        action::list(&self.config, state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        step::next(&self.config, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = property::safety();
        all.extend(property::reach());
        all
    }
}
