use std::net::IpAddr;
use std::os::unix::net::UnixStream;

use sheepdog_proto::Oid;
use sheepdog_proto::legacy::header::{OID, VERSION};
use sheepdog_proto::legacy::{Flags, Opcode, RequestHeader};

use super::super::socket::Stream;
use super::super::tests::memory::{Herd, MemoryDoor, run};
use super::*;
use crate::door::Socket;

/// Connections of clients on other hosts, to one VDI.
struct Remote {
    herd: Herd,
    vid: Vid,
    queue: Rc<Queue<MemoryDoor>>,
    /// Keeps the sockets open.
    streams: Vec<(Rc<Stream>, UnixStream)>,
}

impl Remote {
    fn new() -> Self {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 1 << 24);
        let queue = herd.shards[0].queue(vid);
        Self { herd, vid, queue, streams: Vec::new() }
    }

    fn connect(&mut self, last: u8) -> Rc<Connection> {
        let origin = Origin::Host(IpAddr::from([10, 0, 0, last]));
        let number = self.herd.sheep.openers.connect(Face::Legacy, origin);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Rc::new(Stream::open(Socket::Unix(ours)).unwrap());
        let connection = Connection::new(number, origin, true, &stream);
        self.streams.push((stream, theirs));
        connection
    }

    /// True if the request was taken.
    fn write(&self, connection: &Rc<Connection>, flags: Flags, version: u64) -> bool {
        let opcode = Opcode::CreateAndWriteObject;
        let header = RequestHeader::new(opcode, Flags::WRITE.and(flags), 0, 4)
            .with(OID, Oid::data(self.vid, 0).get())
            .with(VERSION, version);
        let data = Some(Payload::from(&b"data"[..]));
        let work = Work::Write { index: 0, offset: 0, data, create: true };
        let ticket = connection.take(header);
        if connection.is_gone() {
            return false;
        }
        self.queue.push(ticket, work);
        !connection.is_gone()
    }
}

#[test]
fn a_newer_data_connection_of_a_remote_client_ends_the_older_for_good() {
    run(async {
        let mut remote = Remote::new();
        let [unheard, old, new] = [1, 1, 1].map(|last| remote.connect(last));
        assert!(remote.write(&old, Flags::default(), 0));
        assert!(remote.write(&new, Flags::default(), 0));
        assert!(old.is_gone(), "what it sends from now on is not read");
        assert!(!remote.write(&old, Flags::default(), 0));
        // Its first bytes come late, after the newer connection's.
        assert!(!remote.write(&unheard, Flags::default(), 0));
        assert!(remote.write(&new, Flags::default(), 0));
    });
}

#[test]
fn connections_of_iscsi_targets_and_tools_do_not_end_each_other() {
    run(async {
        let mut remote = Remote::new();
        let threads = [1, 1, 1].map(|last| remote.connect(last));
        for thread in threads.iter().chain(threads.iter().rev()) {
            for (flags, version) in [(Flags::TGT, 0), (Flags::TGT, 1), (Flags::default(), 2)] {
                assert!(remote.write(thread, flags, version));
            }
        }
    });
}

#[test]
fn a_queue_is_forgotten_when_its_connections_have_ended() {
    run(async {
        let mut remote = Remote::new();
        let connection = remote.connect(1);
        assert!(remote.write(&connection, Flags::TGT, 1));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(!Queue::is_unused(&remote.queue));
        drop((remote.queue, connection));
        let shard = &remote.herd.shards[0];
        shard.forget(0);
        assert!(shard.queues.borrow().is_empty());
    });
}
