use super::*;

const DONE: Result<Answer, Refusal> = Ok(Answer::Done);

fn data(tags: &[u64]) -> Result<Answer, Refusal> {
    Ok(Answer::Data(tagged(tags)))
}

/// Sector 7 with an acknowledged write of tag 1 and an unanswered one of tag 2, of generation 1.
fn two_writes() -> History {
    let mut history = History::default();
    history.write(1, (1, 1), 7, &[1]);
    history.answer(1, &DONE).unwrap();
    history.write(2, (1, 2), 7, &[2]);
    history
}

#[test]
fn an_acknowledged_write_must_be_read() {
    let mut history = two_writes();
    history.answer(2, &DONE).unwrap();
    history.read(3, (2, 3), 7, 1);
    history.answer(3, &data(&[1])).unwrap_err(); // H1
}

#[test]
fn an_unanswered_write_of_an_earlier_owner_is_there_or_not() {
    for tag in [1, 2] {
        let mut history = two_writes();
        history.forget(2);
        history.read(3, (2, 3), 7, 1);
        history.answer(3, &data(&[tag])).unwrap();
        history.read(4, (2, 4), 7, 1);
        history.answer(4, &data(&[3 - tag])).unwrap_err(); // what was seen is fixed
    }
}

#[test]
fn a_write_that_was_found_missing_is_not_acknowledged_any_more() {
    let mut history = two_writes();
    history.read(3, (2, 3), 7, 1);
    history.answer(3, &data(&[1])).unwrap();
    history.answer(2, &DONE).unwrap_err(); // H3
}

#[test]
fn a_read_sees_what_came_before_it_through_the_same_owner_and_nothing_later() {
    let mut history = two_writes();
    history.read(3, (1, 3), 7, 1);
    history.write(4, (1, 4), 7, &[4]);
    history.answer(3, &data(&[4])).unwrap_err(); // H2
    history.read(5, (1, 5), 7, 1);
    history.answer(5, &data(&[2])).unwrap_err(); // H1
    history.read(6, (1, 6), 7, 1);
    history.answer(6, &data(&[4])).unwrap();
}

#[test]
fn what_is_forgotten_of_a_long_history_could_not_be_seen_any_more() {
    let mut history = two_writes();
    history.read(1000, (1, 3), 7, 1);
    for number in 4..100 {
        history.write(number, (1, number), 7, &[number]);
        history.answer(number, &DONE).unwrap();
    }
    assert!(history.registers[&7].writes.len() > 90, "a read may still see them");
    history.answer(1000, &data(&[2])).unwrap();
    for number in 100..200 {
        history.write(number, (1, number), 7, &[number]);
        history.answer(number, &DONE).unwrap();
    }
    assert!(history.registers[&7].writes.len() < 20);
    history.read(1001, (1, 200), 7, 1);
    history.answer(1001, &data(&[198])).unwrap_err(); // H1
}

#[test]
fn what_is_torn_never_written_or_failed_is_noticed() {
    let mut history = History::default();
    history.read(1, (1, 1), 3, 1);
    history.answer(1, &data(&[9])).unwrap_err();
    let mut torn = Buffer::zeroed(SECTOR as usize);
    torn[0] = 1;
    history.read(2, (1, 2), 3, 1);
    history.answer(2, &Ok(Answer::Data(torn.share()))).unwrap_err();
    history.read(3, (1, 3), 3, 1);
    history.answer(3, &Err(Refusal::Io(String::new()))).unwrap_err();
}

#[test]
fn a_copy_must_hold_the_newest_that_was_acknowledged() {
    let mut history = two_writes();
    assert!(history.fits(7, 1) && history.fits(7, 2) && !history.fits(7, 0));
    history.answer(2, &DONE).unwrap();
    assert!(!history.fits(7, 1));
    history.zero(3, (1, 3), 0..100);
    history.answer(3, &DONE).unwrap();
    assert!(history.fits(7, 0) && !history.fits(7, 2));
}
