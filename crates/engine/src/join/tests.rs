use std::sync::Arc;

use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::peer::{BlockMeta, BlockState, Listed, Listing, Pulled};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Incarnation, LogIndex, NodeId, Payload, block_checksum};

use super::*;

const JOINER: NodeId = NodeId(1);
/// Blocks of an object of 1 MiB.
const BLOCKS: usize = 256;

/// A joiner of one group, whose log and source are played by the test.
struct Play {
    state: ClusterState,
    joiner: Joiner,
    vid: Vid,
    waiting: Vec<Action>,
}

fn stamp(sequence: u64) -> Stamp {
    Stamp::new(Generation(1), sequence)
}

impl Play {
    /// Node 1 was away and is back; what its store lists as unstable is `unstable`.
    fn begin(unstable: Vec<Unstable>) -> Self {
        Self::begin_with(0, unstable)
    }

    /// The same with 2^`bits` groups.
    fn begin_with(partition_bits: u8, unstable: Vec<Unstable>) -> Self {
        let mut state = ClusterState::default();
        let mut push = |command: Command| {
            let index = LogIndex(state.index.0 + 1);
            state.apply(index, &command).expect("a good command")
        };
        let join = |node: u16| Command::Join {
            uuid: u128::from(node) + 1,
            zone: u32::from(node),
            weight: 8,
            shards: 1,
            addresses: Addresses::default(),
        };
        push(join(0));
        push(join(1));
        let (cluster, time_ns, object_shift, copies) = (7, 0, 20, Copies::Auto);
        push(Command::Format { cluster, time_ns, partition_bits, object_shift, copies });
        let name = "disk".to_owned();
        let (size, copies, object_shift) = (8 << 20, None, None);
        let created = push(Command::CreateVdi { name, size, copies, object_shift, time_ns });
        let crate::state::Outcome::Created(vid) = created else { panic!("{created:?}") };
        push(Command::Gone { node: JOINER, incarnation: Incarnation(2) });
        let view = View(5);
        let all = (0..1 << partition_bits).map(|number| (numbered(number), view));
        push(Command::Act { groups: all.collect() });
        push(join(1));
        let me = Me { node: JOINER, incarnation: Incarnation(7) };
        let mut play = Self { state, joiner: Joiner::new(me, 0), vid, waiting: Vec::new() };
        play.tell();
        play.answer_local(|local| matches!(local, Local::Unstable), ReplyBody::Unstable(unstable));
        play
    }

    fn tell(&mut self) {
        self.joiner.handle_state(Arc::new(self.state.clone()));
        self.take();
    }

    fn take(&mut self) {
        self.waiting.extend(self.joiner.take_actions());
    }

    /// Everything about the gate is answered; node 1 has joined.
    fn join(&mut self) {
        let nothing = || ReplyBody::Listing(Listing::default());
        while self.try_local(|local| matches!(local, Local::Undo(_)), ReplyBody::Done) {}
        self.answer_local(|local| matches!(local, Local::List(None)), nothing());
        self.answer_local(|local| matches!(local, Local::Drop(..)), ReplyBody::Done);
        self.apply_proposal();
        self.joiner.tick(1 << 20);
        self.take();
    }

    fn apply_proposal(&mut self) -> Command {
        let at = self.waiting.iter().position(|action| matches!(action, Action::Propose(_)));
        let Action::Propose(command) = self.waiting.remove(at.expect("a proposal")) else {
            unreachable!("it is one")
        };
        let index = LogIndex(self.state.index.0 + 1);
        self.state.apply(index, &command).expect("a good command");
        self.tell();
        command
    }

    fn try_local(&mut self, is_it: impl Fn(&Local) -> bool, body: ReplyBody) -> bool {
        self.try_local_with(is_it, Ok(body)).is_some()
    }

    fn try_local_with(
        &mut self,
        is_it: impl Fn(&Local) -> bool,
        result: Result<ReplyBody, PeerError>,
    ) -> Option<Local> {
        let is_it = |action: &Action| matches!(action, Action::Local(_, local) if is_it(local));
        let at = self.waiting.iter().position(is_it)?;
        let Action::Local(token, local) = self.waiting.remove(at) else { return None };
        self.joiner.handle_local(token, result);
        self.take();
        Some(local)
    }

    fn answer_local(&mut self, is_it: impl Fn(&Local) -> bool, body: ReplyBody) -> Local {
        let waiting = format!("{:?}", self.waiting);
        self.try_local_with(is_it, Ok(body)).unwrap_or_else(|| panic!("only {waiting}"))
    }

    /// All of an object is here.
    fn raise(&mut self) {
        self.try_local(is_reset, ReplyBody::Done);
        self.answer_local(|local| matches!(local, Local::Raise(..)), ReplyBody::Done);
    }

    /// Answers the source's next request.
    fn answer(&mut self, body: impl FnOnce(&RequestBody) -> ReplyBody) -> RequestBody {
        let at = self.waiting.iter().position(|action| matches!(action, Action::Send(..)));
        let Action::Send(place, request) = self.waiting.remove(at.expect("a request")) else {
            unreachable!("it is one")
        };
        let result = Ok(body(&request.body));
        self.joiner.handle_reply(place, Reply { id: request.id, result });
        self.take();
        request.body
    }

    fn oid(&self) -> Oid {
        Oid::data(self.vid, 0)
    }

    fn listed(&self, modified: u64) -> Listed {
        let (oid, object_shift, base) = (self.oid(), 20, stamp(1));
        Listed { oid, object_shift, base, modified: View(modified), is_rotten: false }
    }

    /// Both lists: of the source and of the own store.
    fn list(&mut self, theirs: Vec<Listed>, ours: Vec<Listed>) {
        let listing = |objects| Listing { objects, ..Listing::default() };
        self.answer(|_| ReplyBody::Listing(listing(theirs)));
        let own = ReplyBody::Listing(listing(ours));
        self.answer_local(|local| matches!(local, Local::List(None)), own);
    }

    fn proposes(&self) -> bool {
        self.waiting.iter().any(|action| matches!(action, Action::Propose(_)))
    }
}

fn group() -> PgId {
    numbered(0)
}

fn numbered(partition: u16) -> PgId {
    let partition = sheepdog_proto::Partition(partition);
    PgId { policy: sheepdog_proto::PolicyId(0), partition }
}

/// The whole object, of which only block 0 is there.
fn stamps(base: Stamp, first: Option<Stamp>) -> Pulled {
    let absent = BlockMeta { stamp: base, checksum: 0, state: BlockState::Absent };
    let mut blocks = vec![absent; BLOCKS];
    if let Some(stamp) = first {
        blocks[0] = BlockMeta { stamp, checksum: 0, state: BlockState::Data };
    }
    Pulled { base, unstable: Vec::new(), blocks, data: Payload::empty() }
}

/// Block 0 with its bytes.
fn block(oid: Oid, base: Stamp, stamp: Stamp, unstable: Vec<Stamp>) -> Pulled {
    let data = Buffer::copy_of(&[7; BLOCK_BYTES]).share();
    let checksum = block_checksum(oid, 0, &data);
    let blocks = vec![BlockMeta { stamp, checksum, state: BlockState::Data }];
    Pulled { base, unstable, blocks, data }
}

/// Both sides have been asked for stamps: the source has block 0 with `theirs`.
fn compared(theirs: Stamp) -> Play {
    let mut play = Play::begin(Vec::new());
    play.join();
    let listed = play.listed(9);
    play.list(vec![listed], Vec::new());
    play.answer(|_| ReplyBody::Pulled(stamps(stamp(1), Some(theirs))));
    let own = ReplyBody::Pulled(stamps(stamp(1), None));
    play.answer_local(|local| matches!(local, Local::Stamps { .. }), own);
    play
}

const fn is_write(local: &Local) -> bool {
    matches!(local, Local::Change { body: RequestBody::Write { .. }, .. })
}

#[test]
fn what_is_unstable_is_taken_back_before_the_group_is_joined() {
    let oid = Oid::data(Vid::hash_of_name(b"disk"), 0);
    let kind = sheepdog_proto::peer::UnstableKind::Blocks;
    let change = Unstable { oid, first_block: 3, count: 1, stamp: stamp(5), kind };
    let mut play = Play::begin(vec![change]);
    assert!(!play.proposes(), "J1");
    let undo = play.answer_local(|local| matches!(local, Local::Undo(_)), ReplyBody::Done);
    assert!(matches!(undo, Local::Undo(changes) if changes == [change]));
    play.join();
    assert_eq!(play.state.group(group()).unwrap().joined(JOINER), Some(View(8)));
}

#[test]
fn what_differs_is_fetched_and_the_object_is_complete_after_it() {
    let mut play = compared(stamp(4));
    let oid = play.oid();
    let pull = play.answer(|_| ReplyBody::Pulled(block(oid, stamp(1), stamp(4), vec![stamp(4)])));
    let expected = RequestBody::Pull { index: 8, oid, first_block: 0, count: 1, with_data: true };
    assert_eq!(pull, expected);
    let write = play.answer_local(is_write, ReplyBody::Done);
    assert!(matches!(write, Local::Change { is_settled: false, .. }), "J5: {write:?}");
    assert!(!play.proposes(), "J3");
    play.try_local(is_reset, ReplyBody::Done);
    let raise = play.answer_local(|local| matches!(local, Local::Raise(..)), ReplyBody::Done);
    assert!(matches!(raise, Local::Raise(of, View(9)) if of == oid));
    play.apply_proposal();
    assert!(play.state.group(group()).unwrap().in_sync.contains(&JOINER));
}

#[test]
fn an_answer_from_before_a_reset_brings_nothing_back() {
    let mut play = compared(stamp(4));
    let oid = play.oid();
    play.joiner.note_change(&RequestBody::Reset { oid, stamp: stamp(6) });
    play.answer(|_| ReplyBody::Pulled(block(oid, stamp(1), stamp(4), Vec::new())));
    assert!(!play.try_local(is_write, ReplyBody::Done), "J2");
    play.raise();
    assert!(play.proposes());
}

#[test]
fn a_refused_write_is_not_tried_again_behind_a_reset() {
    for is_reset in [false, true] {
        let mut play = compared(stamp(4));
        let oid = play.oid();
        play.answer(|_| ReplyBody::Pulled(block(oid, stamp(1), stamp(4), Vec::new())));
        assert!(play.try_local_with(is_write, Err(PeerError::Full)).is_some());
        if is_reset {
            play.joiner.note_change(&RequestBody::Reset { oid, stamp: stamp(6) });
        }
        play.joiner.tick(1 << 20);
        play.take();
        assert_eq!(play.try_local(is_write, ReplyBody::Done), !is_reset, "J2");
        play.raise();
        assert!(play.proposes());
    }
}

#[test]
fn only_what_cannot_have_changed_is_accepted_unread() {
    // The group was left with view 6: older changes are all here.
    let check = |theirs: u64, ours: u64, base: Stamp, is_accepted: bool| {
        let mut play = Play::begin(Vec::new());
        play.join();
        let (theirs, ours) = (play.listed(theirs), Listed { base, ..play.listed(ours) });
        play.list(vec![theirs], vec![ours]);
        assert_eq!(play.proposes(), is_accepted, "P1: {theirs:?} and {ours:?}");
    };
    check(5, 5, stamp(1), true);
    check(5, 4, stamp(1), false);
    check(6, 6, stamp(1), false);
    check(5, 5, stamp(2), false);
}

#[test]
fn what_the_source_does_not_have_goes_unless_it_came_since() {
    let mut play = Play::begin(Vec::new());
    play.join();
    let ours = play.listed(5);
    play.list(Vec::new(), vec![ours]);
    let dropped = play.answer_local(|local| matches!(local, Local::Drop(..)), ReplyBody::Done);
    let oid = play.oid();
    assert!(matches!(dropped, Local::Drop(oids, View(8)) if oids == [oid]), "P2");
    assert!(play.proposes());
}

#[test]
fn a_source_that_goes_away_costs_the_pass_but_not_the_joining() {
    let mut play = compared(stamp(4));
    let index = LogIndex(play.state.index.0 + 1);
    let gone = Command::Gone { node: NodeId(0), incarnation: Incarnation(1) };
    play.state.apply(index, &gone).unwrap();
    play.tell();
    let oid = play.oid();
    assert!(play.joiner.progress().groups_left == 1 && !play.proposes());
    assert!(play.state.group(group()).unwrap().joined(JOINER).is_some());
    play.joiner.note_change(&RequestBody::Reset { oid, stamp: stamp(6) });
    for _ in 0..50 {
        play.joiner.tick(1 << 20);
    }
    play.take();
    assert!(!play.proposes(), "nobody has said that all is here");
}

#[test]
fn a_pass_that_is_given_up_does_not_hold_up_the_cleaning_of_other_groups() {
    let mut play = Play::begin_with(1, Vec::new());
    play.join();
    let mut push = |command: Command| {
        let index = LogIndex(play.state.index.0 + 1);
        play.state.apply(index, &command).unwrap();
        play.tell();
    };
    let groups = vec![numbered(1)];
    push(Command::Demote { node: JOINER, incarnation: Incarnation(7), groups });
    push(Command::Gone { node: NodeId(0), incarnation: Incarnation(1) });
    let unstable = ReplyBody::Unstable(Vec::new());
    play.answer_local(|local| matches!(local, Local::Unstable), unstable);
    let nothing = ReplyBody::Listing(Listing::default());
    play.answer_local(|local| matches!(local, Local::List(None)), nothing);
    play.answer_local(|local| matches!(local, Local::Drop(..)), ReplyBody::Done);
    let command = play.apply_proposal();
    let Command::Joining { groups, .. } = command else { panic!("{command:?}") };
    assert_eq!(groups, [numbered(1)]);
}

fn is_reset(local: &Local) -> bool {
    matches!(local, Local::Change { body: RequestBody::Reset { .. }, .. })
}

#[test]
fn the_base_is_set_when_there_is_an_object_that_keeps_it() {
    let mut play = compared(stamp(4));
    let oid = play.oid();
    play.answer(|_| ReplyBody::Pulled(block(oid, stamp(1), stamp(4), Vec::new())));
    play.answer_local(is_write, ReplyBody::Done);
    let raises = |local: &Local| matches!(local, Local::Raise(..));
    assert!(!play.try_local(raises, ReplyBody::Done), "J3");
    let reset = play.answer_local(is_reset, ReplyBody::Done);
    let Local::Change { body: RequestBody::Reset { stamp: base, .. }, is_settled: true } = reset
    else {
        panic!("{reset:?}");
    };
    assert_eq!(base, stamp(1), "J6");
    play.answer_local(raises, ReplyBody::Done);
    assert!(play.proposes());
}
