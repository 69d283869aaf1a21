use super::*;

/// Looks so often, with one new request each time, answered after so many looks. When it was over.
fn over(looks: u64, takes: u64) -> Option<u64> {
    let mut patience = Patience::default();
    (1..=looks).find(|now| {
        let oldest = now.saturating_sub(takes) + 1;
        patience.look((takes > 0).then_some(oldest), *now);
        patience.is_over()
    })
}

#[test]
fn a_disk_that_answers_within_a_second_is_never_slow() {
    for takes in [0, 1, 5, 9] {
        assert_eq!(over(10_000, takes), None, "{takes}");
    }
}

#[test]
fn a_disk_that_takes_more_than_a_second_is_slow_after_half_a_minute() {
    for takes in [15, 30] {
        let when = over(10_000, takes).unwrap();
        assert!((300..350).contains(&when), "{takes}: {when}");
    }
}

#[test]
fn a_disk_that_does_not_answer_hangs_after_five_seconds() {
    let mut patience = Patience::default();
    (0..1000).for_each(|_| patience.look(None, 6));
    let when = (0..200).find(|_| {
        patience.look(Some(7), 7);
        patience.is_over()
    });
    assert_eq!(when, Some(HANGS as i32));
    patience.look(Some(8), 9);
    assert!(!patience.is_over(), "it answers again");
}

#[test]
fn a_hiccup_now_and_then_is_forgiven() {
    let mut patience = Patience::default();
    for number in 1..1000 {
        (0..40).for_each(|_| patience.look(Some(number), number));
        (0..20).for_each(|_| patience.look(None, number));
        assert!(!patience.is_over());
    }
}
