use super::*;

fn after(entries: &[Entry]) -> Control {
    let mut control = Control::new(3);
    for (entry, index) in entries.iter().zip(1..) {
        control.apply(index, *entry, Notes::default());
    }
    control
}

#[test]
fn down_keeps_the_member_in_sync_and_changes_the_view() {
    let control = after(&[Entry::Down(2)]);
    assert_eq!((control.insync, control.lost), (Members(0b111), Members(0b100)));
    assert_eq!((control.write_set(), control.view), (Members(0b011), 1)); // K2
}

#[test]
fn act_removes_the_lost_members() {
    let control = after(&[Entry::Down(2), Entry::Act(1)]);
    assert_eq!((control.insync, control.lost), (Members(0b011), Members::NONE));
    assert_eq!(control.view, 2); // K2
}

#[test]
fn act_that_names_an_older_view_changes_nothing() {
    let control = after(&[Entry::Down(2), Entry::Down(1), Entry::Act(1)]);
    assert_eq!(control, after(&[Entry::Down(2), Entry::Down(1)]));
}

#[test]
fn act_without_a_survivor_changes_nothing() {
    let all_down = [Entry::Down(0), Entry::Down(1), Entry::Down(2)];
    let mut control = after(&all_down);
    control.apply(4, Entry::Act(3), Notes::default());
    assert_eq!(control, after(&all_down)); // K1
}

#[test]
fn a_member_that_returns_before_act_is_in_sync_again() {
    let control = after(&[Entry::Down(2), Entry::Join(2)]);
    assert_eq!((control.live(), control.joiners()), (Members(0b111), Members::NONE));
    assert_eq!(control.view, 2); // K2
}

#[test]
fn a_member_that_returns_after_act_is_a_joiner_until_it_is_declared_in_sync() {
    let path = [Entry::Down(2), Entry::Act(1), Entry::Join(2), Entry::InSync(2)];
    let joined = after(&path[..3]);
    assert_eq!((joined.live(), joined.joiners()), (Members(0b011), Members(0b100)));
    assert_eq!(joined.write_set(), Members(0b111));
    assert_eq!(after(&path).insync, Members(0b111));
}

#[test]
fn insync_of_a_member_that_went_down_again_changes_nothing() {
    let path = [Entry::Down(2), Entry::Act(1), Entry::Join(2), Entry::Down(2), Entry::InSync(2)];
    assert_eq!(after(&path), after(&path[..4]));
}

#[test]
fn attach_raises_the_generation_and_leaves_the_view() {
    let control = after(&[Entry::Down(0), Entry::Attach]);
    assert_eq!((control.generation, control.view), (2, 1)); // K3
}

#[test]
fn the_view_in_which_a_member_was_lost_is_kept_until_it_is_in_sync_again() {
    let left = |entries: &[Entry]| {
        let mut control = Control::new(3);
        for (entry, index) in entries.iter().zip(1..) {
            control.apply(index, *entry, Notes { left: true, ..Notes::default() });
        }
        control.left[2]
    };
    let path = [
        Entry::Down(2),
        Entry::Join(2),
        Entry::Down(2),
        Entry::Act(3),
        Entry::Join(2),
        Entry::Down(2), // as a joiner: what it missed began with the loss before
        Entry::Join(2),
        Entry::InSync(2),
    ];
    let lefts: Vec<u8> = (1..=path.len()).map(|end| left(&path[..end])).collect();
    assert_eq!(lefts, [1, 0, 3, 3, 3, 3, 3, 0]);
}
