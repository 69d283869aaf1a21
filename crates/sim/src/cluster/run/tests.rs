use super::*;

/// A world of at least two sheep in which nothing breaks, some way into its run.
fn calm_world() -> World {
    let quiet = |seed: &u64| {
        let world = World::new(*seed, Trace::new(Lines::None, Kept::default()));
        world.profile.faults.is_empty() && world.sheep.len() > 1
    };
    let seed = (0..1000).find(quiet).expect("one seed in ten has no faults");
    let mut world = World::new(seed, Trace::new(Lines::None, Kept::default()));
    world.run_until(world.profile.danger_ns).unwrap();
    world
}

#[test]
fn a_world_in_which_nothing_breaks_comes_to_rest() {
    let mut world = calm_world();
    world.heal();
    settle(&mut world).unwrap();
    assert!(world.trace.counts.get("operations answered") > 0);
}

#[test]
fn clients_that_are_never_answered_are_noticed() {
    let mut world = calm_world();
    world.heal();
    for from in 0..world.sheep.len() {
        (0..world.sheep.len()).for_each(|to| world.network.block(from, to));
    }
    assert!(settle(&mut world).unwrap_err().starts_with("R1")); // R1
}

#[test]
fn a_panic_is_a_failure_with_its_seed_and_its_last_lines() {
    let kept = Kept::default();
    kept.borrow_mut().push_back("the last line".to_owned());
    let text = panic_text(&"what went wrong");
    let lines = kept.borrow().iter().cloned().collect();
    let failure = Failure { seed: 7, what: text, lines };
    assert_eq!(failure.to_string(), "the last line\nseed 7: what went wrong");
}
