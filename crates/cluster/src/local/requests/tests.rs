use super::*;
use tokio::sync::Semaphore;

const SESSION: u128 = 5;

fn request(payload: &[u8]) -> (Request, oneshot::Receiver<Result<LogIndex, LogError>>) {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let (reply, answer) = oneshot::channel();
    (Request { payload: Arc::from(payload), reply, permit }, answer)
}

fn header(index: u64, session: u128, token: Token) -> Header {
    let (body_bytes, body_checksum, previous, checksum) = (0, 0, 0, 0);
    Header { index, synced: 0, session, token, body_bytes, body_checksum, previous, checksum }
}

fn tokens(requests: &Requests) -> Vec<(u64, u64)> {
    let frames = requests.frames().map(|frame| match frame {
        Frame::Append { token, .. } => (token.life, token.sequence),
        other => panic!("{other:?}"),
    });
    frames.collect()
}

#[test]
fn appends_are_numbered_in_the_order_of_the_calls_from_the_welcome_on() {
    let mut requests = Requests::new(SESSION, None);
    let (first, _answer) = request(b"1");
    assert!(requests.push(first).is_none());
    assert_eq!(requests.settled_life(), None);
    requests.begin(Token { life: 3, sequence: 8 }).unwrap();
    let (second, _answer) = request(b"2");
    assert!(requests.push(second).is_some());
    assert_eq!(tokens(&requests), [(4, 1), (4, 2)]);
    assert_eq!(requests.settled_life(), Some(4));
}

#[test]
fn an_append_is_answered_when_it_is_read_and_only_the_rest_is_sent_again() {
    let mut requests = Requests::new(SESSION, None);
    requests.begin(Token::default()).unwrap();
    let answers: Vec<_> = (0..3)
        .map(|_| {
            let (request, answer) = request(b"x");
            requests.push(request);
            answer
        })
        .collect();
    requests.note(&header(9, 6, Token { life: 1, sequence: 1 })).unwrap(); // another session
    requests.note(&header(10, SESSION, Token { life: 1, sequence: 1 })).unwrap();
    assert_eq!(tokens(&requests), [(1, 2), (1, 3)]); // Q1
    requests.begin(Token { life: 1, sequence: 2 }).unwrap();
    assert_eq!(tokens(&requests), [(1, 2), (1, 3)]); // Q2: on its way is not in the log
    requests.fail(&LogError::Closed);
    let outcomes: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv()).collect();
    assert!(matches!(outcomes[0], Ok(Ok(LogIndex(10)))));
    assert!(matches!(outcomes[1], Ok(Err(LogError::Closed))));
    assert!(matches!(outcomes[2], Ok(Err(LogError::Closed))));
}

#[test]
fn the_will_of_the_life_before_goes_ahead() {
    let will = Will { session: SESSION, life: 7, payload: Arc::from(*b"will") };
    let mut requests = Requests::new(SESSION, Some(will));
    let (first, _answer) = request(b"1");
    requests.push(first);
    requests.begin(Token { life: 2, sequence: 1 }).unwrap();
    assert_eq!(tokens(&requests), [(7, u64::MAX), (8, 1)]); // Q3
    assert_eq!(requests.settled_life(), None);
    assert!(requests.owes_will());
    requests.note(&header(20, SESSION, Token::will(7))).unwrap();
    assert_eq!(requests.settled_life(), Some(8));
    assert_eq!(tokens(&requests), [(8, 1)]);
}

#[test]
fn a_will_that_a_server_executed_already_is_not_sent_again() {
    let will = Will { session: SESSION, life: 7, payload: Arc::from(*b"will") };
    let mut requests = Requests::new(SESSION, Some(will));
    requests.note(&header(20, SESSION, Token::will(7))).unwrap();
    requests.begin(Token::will(7)).unwrap();
    assert_eq!(tokens(&requests), []);
    assert_eq!(requests.settled_life(), Some(8));
}

#[test]
fn a_session_that_was_declared_dead_or_has_a_later_life_ends() {
    for token in [Token::will(1), Token { life: 2, sequence: 1 }] {
        let mut requests = Requests::new(SESSION, None);
        requests.begin(Token::default()).unwrap();
        let seen = requests.note(&header(4, SESSION, token));
        assert!(matches!(seen, Err(Flaw::Ended(LogError::SessionEnded { session: SESSION }))));
        assert!(matches!(requests.begin(token), Err(LogError::SessionEnded { .. })));
    }
}

#[test]
fn an_append_that_was_left_out_is_a_flaw_of_the_log() {
    let mut requests = Requests::new(SESSION, None);
    requests.begin(Token::default()).unwrap();
    for _ in 0..2 {
        requests.push(request(b"x").0);
    }
    let seen = requests.note(&header(4, SESSION, Token { life: 1, sequence: 2 }));
    assert!(matches!(seen, Err(Flaw::Corrupt(_))));
}
