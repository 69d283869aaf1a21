use super::*;
use crate::state::Outcome;
use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::{Generation, Incarnation, LogIndex, NodeId, Oid, Stamp, Vid, View};

/// Three sheep, two copies of everything, one group; the VDI attached through node 0.
struct Scene {
    state: ClusterState,
    vid: Vid,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { state: ClusterState::default(), vid: Vid::new(1).unwrap() };
        (0..3).for_each(|node| scene.join(node));
        scene.push(Command::Format {
            cluster: 1,
            time_ns: 0,
            partition_bits: 0,
            object_shift: 22,
            copies: Copies::Exactly(2),
        });
        let name = "vdi".to_owned();
        let (size, copies, object_shift) = (1 << 30, None, None);
        let create = Command::CreateVdi { name, size, copies, object_shift, time_ns: 0 };
        let Some(Outcome::Created(vid)) = scene.push(create) else { panic!("created") };
        scene.vid = vid;
        scene.attach(0);
        scene
    }

    fn push(&mut self, command: Command) -> Option<Outcome> {
        let index = LogIndex(self.state.index.0 + 1);
        self.state.apply(index, &command).ok()
    }

    fn join(&mut self, node: u16) {
        let (uuid, zone) = (u128::from(node), u32::from(node));
        let addresses = Addresses::default();
        self.push(Command::Join { uuid, zone, weight: 8, shards: 1, addresses });
    }

    fn attach(&mut self, node: u16) {
        let me = self.me(node);
        let Me { node, incarnation } = me;
        self.push(Command::Attach { vid: self.vid, node, incarnation, time_ns: 0 });
    }

    fn detach(&mut self) {
        let generation = self.state.catalogue.get_used(self.vid).unwrap().generation;
        self.push(Command::Detach { vid: self.vid, generation });
    }

    fn me(&self, node: u16) -> Me {
        let member = self.state.members.get(NodeId(node)).unwrap();
        Me { node: member.node, incarnation: member.incarnation }
    }

    /// A member of the group, and a sheep that is none.
    fn member_and_stranger(&self) -> (Me, Me) {
        let (_, group) = self.state.group_of(self.oid()).unwrap();
        let is_member = |node: &u16| group.in_sync.contains(&NodeId(*node));
        let find = |inside| (0..3).find(|node| is_member(node) == inside).unwrap();
        (self.me(find(true)), self.me(find(false)))
    }

    fn oid(&self) -> Oid {
        Oid::data(self.vid, 0)
    }

    fn view(&self) -> u64 {
        self.state.group_of(self.oid()).unwrap().1.view.0
    }

    fn check(&self, me: Me, request: &Request, expect: Admission) {
        assert_eq!(admit(me, &self.state, request), expect, "{request:?}");
    }

    /// One request of each kind that is about an object.
    fn about_object(&self, generation: u32, view: u64) -> Vec<Request> {
        let (oid, stamp) = (self.oid(), Stamp::new(Generation(generation), 1));
        let (object_shift, first_block, count) = (22, 0, 1);
        let (checksums, data) = (Vec::new(), sheepdog_proto::Payload::empty());
        let bodies = vec![
            RequestBody::Write {
                oid,
                object_shift,
                first_block,
                stamp,
                must_exist: false,
                checksums,
                data,
            },
            RequestBody::Hole { oid, object_shift, first_block, count, stamp, must_exist: false },
            RequestBody::Reset { oid, stamp },
            RequestBody::Read { oid, first_block, count },
        ];
        bodies.into_iter().map(|body| self.request(generation, view, body)).collect()
    }

    /// One request of each kind that is about the VDI.
    fn about_vdi(&self, generation: u32) -> Vec<Request> {
        let bodies = vec![
            RequestBody::Barrier { index: self.state.index.0 },
            RequestBody::Settle { oids: vec![self.oid()] },
            RequestBody::Watermark,
        ];
        bodies.into_iter().map(|body| self.request(generation, 0, body)).collect()
    }

    fn request(&self, generation: u32, view: u64, body: RequestBody) -> Request {
        let (generation, view) = (Generation(generation), View(view));
        let stable = Stamp::new(generation, 0);
        Request { id: 1, vid: self.vid, generation, view, stable, body }
    }

    fn everything(&self, generation: u32, view: u64) -> Vec<Request> {
        [self.about_object(generation, view), self.about_vdi(generation)].concat()
    }
}

#[test]
fn the_current_owner_is_served_by_members_in_sync() {
    let scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    for request in scene.everything(1, scene.view()) {
        scene.check(member, &request, Admission::Execute);
    }
}

#[test]
fn an_older_generation_is_refused_reads_included() {
    let mut scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    scene.detach();
    for request in scene.everything(1, scene.view()) {
        scene.check(member, &request, Admission::Execute); // the last watermark, for one
    }
    scene.attach(1);
    for request in scene.everything(1, scene.view()) {
        scene.check(member, &request, Admission::Refuse(PeerError::StaleGeneration)); // FENCE
    }
}

#[test]
fn a_newer_generation_waits_for_the_log() {
    let scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    for request in scene.everything(2, scene.view()) {
        scene.check(member, &request, Admission::Hold); // VIEW
    }
}

#[test]
fn an_older_view_is_refused_and_a_newer_one_waits() {
    let scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    let stale = PeerError::StaleView(View(scene.view()));
    for request in scene.about_object(1, scene.view() - 1) {
        scene.check(member, &request, Admission::Refuse(stale)); // VIEW
    }
    for request in scene.about_object(1, scene.view() + 1) {
        scene.check(member, &request, Admission::Hold);
    }
}

#[test]
fn a_stranger_to_the_group_neither_serves_nor_stores() {
    let scene = Scene::new();
    let (_, stranger) = scene.member_and_stranger();
    for request in scene.about_object(1, scene.view()) {
        scene.check(stranger, &request, Admission::Refuse(PeerError::NotInSync)); // R1
    }
    for request in scene.about_vdi(1) {
        scene.check(stranger, &request, Admission::Execute);
    }
}

#[test]
fn a_member_that_was_taken_out_is_a_stranger_when_it_returns() {
    let mut scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    let Me { node, incarnation } = member;
    scene.push(Command::Gone { node, incarnation });
    let (pg, group) = scene.state.group_of(scene.oid()).unwrap();
    let groups = vec![(pg, group.view)];
    scene.push(Command::Act { groups });
    scene.join(node.0);
    if scene.state.catalogue.get(scene.vid).unwrap().attachment.is_none() {
        scene.attach(node.0);
    }
    let generation = scene.state.catalogue.get(scene.vid).unwrap().generation.0;
    for request in scene.about_object(generation, scene.view()) {
        scene.check(scene.me(node.0), &request, Admission::Refuse(PeerError::NotInSync)); // R1
    }
}

#[test]
fn a_life_that_has_ended_or_not_begun_does_nothing() {
    let mut scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    let early = Me { incarnation: Incarnation(member.incarnation.0 + 100), ..member };
    for request in scene.everything(1, scene.view()) {
        scene.check(early, &request, Admission::Hold); // R2
    }
    let Me { node, incarnation } = member;
    scene.push(Command::Gone { node, incarnation });
    for request in scene.everything(1, scene.view()) {
        scene.check(member, &request, Admission::Refuse(PeerError::NotInSync)); // R2
    }
    scene.join(node.0);
    for request in scene.everything(1, scene.view()) {
        scene.check(member, &request, Admission::Refuse(PeerError::NotInSync));
    }
}

#[test]
fn a_barrier_waits_until_the_log_is_applied_so_far() {
    let mut scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    let index = scene.state.index.0 + 1;
    let barrier = scene.request(1, 0, RequestBody::Barrier { index });
    scene.check(member, &barrier, Admission::Hold);
    scene.push(Command::Shutdown { time_ns: 0 });
    scene.check(member, &barrier, Admission::Execute);
}

#[test]
fn an_unknown_vdi_waits_for_the_log_and_a_deleted_one_is_refused() {
    let mut scene = Scene::new();
    let (member, _) = scene.member_and_stranger();
    let mut request = scene.about_object(1, scene.view()).remove(0);
    request.vid = Vid::new(77).unwrap();
    scene.check(member, &request, Admission::Hold);
    scene.detach();
    scene.push(Command::DeleteVdi { vid: scene.vid });
    request.vid = scene.vid;
    scene.check(member, &request, Admission::Refuse(PeerError::StaleGeneration));
}
