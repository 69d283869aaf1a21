use std::collections::HashMap;

use super::*;
use crate::model::config::Bounds;
use crate::model::{action, step};

// Every state of a small run, by code. // M1
fn every_state(config: &Config) -> HashMap<[u64; 26], State> {
    let first = State::first(config);
    let mut met = HashMap::from([(first.code(), first)]);
    let mut open = vec![first];
    let mut actions = Vec::new();
    while let Some(state) = open.pop() {
        action::list(config, &state, &mut actions);
        for action in actions.drain(..) {
            let Some(next) = step::next(config, &state, action) else { continue };
            let known = *met.entry(next.code()).or_insert_with(|| {
                open.push(next);
                next
            });
            assert_eq!(known, next, "two states share a code after {action}");
        }
    }
    met
}

#[test]
fn states_with_the_same_code_are_equal() {
    let config = Config::new(Bounds::two(1, 1, 2));
    assert!(every_state(&config).len() > 1000);
    assert!(every_state(&Config::new(Bounds::two(1, 1, 1)).with_pull()).len() > 1000);
    assert!(every_state(&Config::new(Bounds::two(1, 1, 1)).with_delta()).len() > 1000);
}

#[test]
fn renaming_members_merges_states_and_loses_none() {
    let named = Config { symmetry: false, ..Config::new(Bounds::two(1, 1, 2)) };
    let merged = every_state(&Config { symmetry: true, ..named });
    let mut renamed = HashMap::new();
    for state in every_state(&named).into_values() {
        let mut state = state;
        state.canonical(&Config { symmetry: true, ..named });
        renamed.insert(state.code(), state);
    }
    assert_eq!(renamed.len(), merged.len()); // M3
    assert!(renamed.keys().all(|code| merged.contains_key(code)));
}

#[test]
fn the_canonical_form_is_its_own_canonical_form() {
    for config in [
        Config::new(Bounds::two(1, 1, 2)),
        Config { symmetry: false, ..Config::new(Bounds::two(1, 1, 1)).with_pull() },
    ] {
        for state in every_state(&config).into_values() {
            let mut again = state;
            again.canonical(&config);
            assert_eq!(again, state);
        }
    }
}
