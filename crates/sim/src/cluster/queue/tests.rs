use super::*;

#[test]
fn events_come_by_time_and_then_in_the_order_of_their_making() {
    let mut queue = Queue::default();
    for (at, sheep) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
        queue.push(at, Event::Start { sheep });
    }
    let mut order = Vec::new();
    while let Some((at, Event::Start { sheep })) = queue.pop_before(6) {
        order.push((at, sheep));
    }
    assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2)]);
    queue.push(9, Event::Fault);
    assert!(queue.pop_before(9).is_none(), "the end itself is not before the end");
}
