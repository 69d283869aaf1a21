use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use super::super::{HEADER_BYTES, RequestHeader, Response, ResultCode};
use super::*;

#[test]
fn every_recorded_pair_has_one_verdict() {
    let scenarios = recorded().unwrap();
    assert_eq!(scenarios.len(), 61);
    assert_eq!(scenarios.iter().map(|scenario| scenario.pairs().count()).sum::<usize>(), 452);
    let gaps = Table::committed().unwrap().gaps(&scenarios);
    assert!(gaps.is_empty(), "C1:\n{}", gaps.join("\n"));
}

#[test]
fn replayed_pairs_are_never_fewer_than_committed() {
    let (listed, least) = Table::committed().unwrap().replayed(&recorded().unwrap());
    assert!(listed >= least, "C2: {listed} of at least {least}");
    assert!(least > 0);
}

#[test]
fn gaps_in_a_table_are_found() {
    let scenarios = parse("scenario a\nrequest 1 001 00\nrequest 1 002 00\nscenario b\nopen 1\n");
    let table = |text| Table::parse(text).unwrap().gaps(scenarios.as_ref().unwrap());
    assert!(table("a\tall\treplayed\n").is_empty());
    assert_eq!(table("a\t1\treplayed\n"), ["a pair 2 has no row"]);
    assert_eq!(table("a\tall\treplayed\na\t3\treplayed\n").len(), 1);
    assert_eq!(table("a\tall\treplayed\nc\tall\treplayed\n").len(), 1);
    assert_eq!(table("a\tall\treplayed\na\tall\tlater\tmore\n").len(), 1);
    for wrong in ["a\tall\n", "a\tx\treplayed\n", "a\tall\tperhaps\n", "a\t1\tdifferent\t7\tx\n"] {
        assert!(Table::parse(wrong).is_err(), "{wrong}");
    }
    let narrow = "a\tall\treplayed\na\t1-2\tlater\tx\na\t2\tdifferent\t0x05\twhy\n";
    let narrow = Table::parse(narrow).unwrap();
    assert_eq!(narrow.verdict("a", 1), Some(&Verdict::Later("x".into())));
    let different = Verdict::Different { code: Some(5), reason: "why".into() };
    assert_eq!(narrow.verdict("a", 2), Some(&different));
}

#[test]
fn runs_of_bytes_are_unfolded() {
    assert_eq!(bytes_of("0011*3 2233"), Err(WireError::Invalid("hex")));
    assert_eq!(bytes_of("00 11*3 2233"), Ok(vec![0, 0x11, 0x11, 0x11, 0x22, 0x33]));
    for wrong in ["0", "0g", "00*x", "*3"] {
        assert!(bytes_of(wrong).is_err(), "{wrong}");
    }
    for wrong in ["open x", "request 1 001", "reply 1 001 zz", "jump 1", "open 1"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

/// Answers every request with one code, the newest first once `hold` requests have come.
#[derive(Clone)]
struct Server {
    code: ResultCode,
    hold: usize,
    replies: Rc<RefCell<VecDeque<u8>>>,
    held: Rc<RefCell<Vec<[u8; HEADER_BYTES]>>>,
}

impl Server {
    fn new(code: ResultCode, hold: usize) -> Self {
        Self { code, hold, replies: Rc::default(), held: Rc::default() }
    }
}

impl Write for Server {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let header = RequestHeader::parse(bytes).map_err(io::Error::other)?;
        let mut held = self.held.borrow_mut();
        held.push(Response::Code(self.code).emit(&header));
        if held.len() == self.hold {
            self.replies.borrow_mut().extend(held.drain(..).rev().flatten());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Server {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.replies.borrow_mut().read(bytes)
    }
}

/// Two pipelined flushes with ids 1 and 2, both recorded as `INVALID_PARMS`.
fn two_flushes() -> Scenario {
    let (request, reply) = ("0016 00*6 0", " 00*39");
    let text = format!(
        "scenario s\nopen 1\nrequest 1 001 {request}1{reply}\nrequest 1 002 {request}2{reply}\n\
         reply 1 001 0016 00*6 01 00*7 05 00*31\nreply 1 002 0016 00*6 02 00*7 05 00*31\nclose 1\n"
    );
    parse(&text).unwrap().remove(0)
}

fn replay_with(server: &Server, table: &str) -> Result<Tally, Mismatch> {
    let table = Table::parse(table).unwrap();
    replay(&two_flushes(), &table, &mut || Ok(server.clone()))
}

#[test]
fn a_replay_compares_what_the_table_says() {
    let same = Server::new(ResultCode::InvalidParameters, 2);
    let tally = replay_with(&same, "s\tall\treplayed\n").unwrap();
    assert_eq!(tally, Tally { replayed: 2, different: 0, skipped: 0 });
    let other = Server::new(ResultCode::Success, 2);
    let mismatch = replay_with(&other, "s\tall\treplayed\n").unwrap_err();
    assert!(mismatch.to_string().contains("recorded v0 FLUSH_VDI"), "{mismatch}");
    let different = "s\tall\tdifferent\t0x00\twhy\n";
    assert_eq!(replay_with(&other, different).unwrap().different, 2);
    assert!(replay_with(&same, different).is_err());
    let one = Server::new(ResultCode::InvalidParameters, 1);
    let tally = replay_with(&one, "s\t1\treplayed\ns\t2\tlater\tmore\n").unwrap();
    assert_eq!(tally, Tally { replayed: 1, different: 0, skipped: 1 });
    assert!(replay_with(&one, "s\t1\treplayed\n").is_err(), "no verdict");
    let silent = Server::new(ResultCode::Success, 9);
    assert!(replay_with(&silent, "s\tall\treplayed\n").is_err(), "no answer");
}
