use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use sheepdog_proto::legacy::request::ObjectRange;
use sheepdog_proto::legacy::{HEADER_BYTES, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const SHIFT: u8 = 20;
const SIZE: u64 = 8 << SHIFT;

/// A server with one VDI in memory that checks the habits of the client.
struct Herd {
    inode: InodeHeader,
    state: Mutex<State>,
    /// Data connections are cut after so many requests; 0 = never.
    cut_after: usize,
    cuts_left: AtomicUsize,
}

#[derive(Default)]
struct State {
    locked: bool,
    objects: BTreeMap<u32, Vec<u8>>,
    map: Vec<u32>,
    /// Requests between arrival and reply, by object.
    on_the_way: BTreeMap<u32, usize>,
    log: Vec<String>,
    /// What the client did wrong.
    faults: Vec<String>,
}

impl Herd {
    async fn start(cut_after: usize, cuts: usize) -> (Arc<Self>, Endpoint) {
        let inode = InodeHeader {
            name: "disk".into(),
            tag: String::new(),
            created_ns: 1,
            snapshot_ns: 0,
            size: SIZE,
            copies: 3,
            object_shift: SHIFT,
            snap_id: 1,
            vid: Vid::hash_of_name(b"disk"),
            parent: None,
        };
        let state = State { map: vec![0; 1 << 20], ..State::default() };
        let cuts_left = AtomicUsize::new(cuts);
        let herd = Arc::new(Self { inode, state: Mutex::new(state), cut_after, cuts_left });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::loopback(listener.local_addr().unwrap().port());
        let serving = herd.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (herd, endpoint)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let (mut input, output) = stream.into_split();
        let output = Arc::new(tokio::sync::Mutex::new(output));
        let mut served = 0;
        let mut header = [0; HEADER_BYTES];
        while input.read_exact(&mut header).await.is_ok() {
            let header = RequestHeader(header);
            let mut payload = vec![0; header.payload_bytes() as usize];
            if input.read_exact(&mut payload).await.is_err() {
                return;
            }
            let request = Request::parse(&header, &payload).unwrap();
            served += 1;
            let object = matches!(request, Request::Write { .. } | Request::Read(_));
            let small = header.data_length() != MAP_END;
            let mut cut = false;
            if object && small && self.cut_after > 0 && served > self.cut_after {
                let taken =
                    self.cuts_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    });
                cut = taken.is_ok();
            }
            if cut && served % 2 == 0 {
                // Cut before it was carried out; otherwise after, but before the reply.
                return;
            }
            self.arrive(&request);
            let (herd, output) = (self.clone(), output.clone());
            let answer = async move {
                // Replies overtake each other.
                tokio::task::yield_now().await;
                let (response, data) = herd.carry_out(&request, &payload);
                if !cut {
                    let mut output = output.lock().await;
                    let _ = output.write_all(&response.emit(&header)).await;
                    let _ = output.write_all(&data).await;
                }
            };
            if cut {
                answer.await;
                return;
            }
            tokio::spawn(answer);
        }
    }

    fn arrive(&self, request: &Request) {
        let mut state = self.state.lock().unwrap();
        if let Request::Write { range, .. } | Request::Read(range) = request
            && let Some(oid) = range.oid.filter(|oid| *oid == Oid::data(oid.vid(), oid.index()))
        {
            let count = state.on_the_way.entry(oid.index()).or_default();
            *count += 1;
            if *count > 1 {
                state.faults.push(format!("Y2: object {}", oid.index()));
            }
        }
    }

    fn carry_out(&self, request: &Request, payload: &[u8]) -> (Response, Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        let code = Response::Code;
        match request {
            Request::Lock(lookup, _) if lookup.name.as_deref() != Some("disk") => {
                (code(ResultCode::NoVdi), Vec::new())
            }
            Request::Lock(..) if state.locked => (code(ResultCode::VdiLocked), Vec::new()),
            Request::Lock(..) => {
                state.locked = true;
                let (vid, code) = (self.inode.vid, ResultCode::Success);
                (Response::Vdi { code, vid, copies: 3, object_shift: SHIFT }, Vec::new())
            }
            Request::Release(vid) => {
                state.locked &= *vid != Some(self.inode.vid);
                (Response::DONE, Vec::new())
            }
            Request::Flush(_) => (code(ResultCode::InvalidParameters), Vec::new()),
            Request::Read(range) => self.read(&mut state, *range),
            Request::Write { range, create } => {
                (self.write(&mut state, *range, *create, payload), Vec::new())
            }
            other => {
                state.faults.push(format!("{other:?}"));
                (code(ResultCode::InvalidParameters), Vec::new())
            }
        }
    }

    fn faults(&self) -> Vec<String> {
        self.state.lock().unwrap().faults.clone()
    }

    fn read(&self, state: &mut State, range: ObjectRange) -> (Response, Vec<u8>) {
        let oid = range.oid.unwrap();
        let (start, end) = (range.offset as usize, range.end() as usize);
        let bytes = if oid == Oid::map(self.inode.vid, 0) {
            let mut inode = self.inode.emit().to_vec();
            inode.extend(state.map.iter().flat_map(|entry| entry.to_le_bytes()));
            inode[start..end].to_vec()
        } else {
            state.on_the_way.remove(&oid.index());
            match state.objects.get(&oid.index()) {
                Some(object) => object[start..end].to_vec(),
                None => return (Response::Code(ResultCode::NoObject), Vec::new()),
            }
        };
        (Response::Data(range.len), bytes)
    }

    fn write(
        &self,
        state: &mut State,
        range: ObjectRange,
        create: bool,
        payload: &[u8],
    ) -> Response {
        let oid = range.oid.unwrap();
        let start = range.offset as usize;
        if oid == Oid::map(self.inode.vid, 0) {
            for (place, entry) in payload.as_chunks::<4>().0.iter().enumerate() {
                let index = (start - INODE_HEADER_BYTES) / 4 + place;
                let entry = u32::from_le_bytes(*entry);
                if entry != 0 && !state.objects.contains_key(&(index as u32)) {
                    state.faults.push(format!("Y3: object {index}"));
                }
                state.map[index] = entry;
            }
            state.log.push(format!("map {}", payload.len() / 4));
            return Response::DONE;
        }
        state.on_the_way.remove(&oid.index());
        if create {
            state.objects.insert(oid.index(), vec![0; 1 << SHIFT]);
            state.log.push(format!("create {}", oid.index()));
        }
        let Some(object) = state.objects.get_mut(&oid.index()) else {
            return Response::Code(ResultCode::NoObject);
        };
        object[start..start + payload.len()].copy_from_slice(payload);
        Response::DONE
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_request_over_several_objects_creates_them_and_then_names_them_at_once() {
    run(async {
        let (herd, endpoint) = Herd::start(0, 0).await;
        let disk = Disk::open(endpoint, "disk").await.unwrap();
        let data = vec![7; 2 << SHIFT];
        disk.write(1 << (SHIFT - 1), &data).await.unwrap();
        let log = std::mem::take(&mut herd.state.lock().unwrap().log);
        assert_eq!(log.len(), 4, "{log:?}");
        assert_eq!(log[3], "map 3");
        disk.write(0, b"again").await.unwrap();
        assert!(herd.state.lock().unwrap().log.is_empty(), "an own object is only written");
        assert_eq!(disk.read(0, 8).await.unwrap(), b"again\0\0\0");
        assert_eq!(disk.read(5 << SHIFT, 4096).await.unwrap(), vec![0; 4096]);
        disk.flush().await.unwrap();
        assert_eq!(herd.faults(), Vec::<String>::new());
    });
}

#[test]
fn a_locked_or_missing_vdi_is_refused_by_its_code_and_release_frees_it() {
    run(async {
        let (_herd, endpoint) = Herd::start(0, 0).await;
        let missing = Disk::open(endpoint.clone(), "nosuch").await.unwrap_err();
        assert_eq!(missing.code(), Some(ResultCode::NoVdi));
        let disk = Disk::open(endpoint.clone(), "disk").await.unwrap();
        let second = Disk::open(endpoint.clone(), "disk").await.unwrap_err();
        assert_eq!(second.code(), Some(ResultCode::VdiLocked));
        assert_eq!(second.to_string(), "LOCK_VDI was refused: VDI_LOCKED");
        disk.release().await.unwrap();
        let disk = Disk::open(endpoint, "disk").await.unwrap();
        assert_eq!((disk.size(), disk.object_shift()), (SIZE, SHIFT));
        assert!(matches!(disk.read(SIZE - 1, 2).await, Err(LegacyError::Range)));
        assert!(matches!(disk.write(u64::MAX, b"xx").await, Err(LegacyError::Range)));
    });
}

#[test]
fn cut_connections_lose_nothing_and_nobody_notices() {
    run(async {
        let (herd, endpoint) = Herd::start(10, 2).await;
        let disk = Arc::new(Disk::open(endpoint.clone(), "disk").await.unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..4_u64 {
            let disk = disk.clone();
            tasks.spawn(async move {
                for turn in 0..16_u64 {
                    let offset = (writer * 16 + turn) * (SIZE / 64) + 100;
                    disk.write(offset, &[writer as u8 + 1; 5000]).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(disk.reconnects(), 2, "Y1");
        assert_eq!(herd.cuts_left.load(Ordering::SeqCst), 0);
        Arc::into_inner(disk).unwrap().release().await.unwrap();
        let disk = Disk::open(endpoint, "disk").await.unwrap();
        for chunk in 0..64_u64 {
            let bytes = disk.read(chunk * (SIZE / 64) + 100, 5000).await.unwrap();
            assert_eq!(bytes, vec![(chunk / 16) as u8 + 1; 5000], "chunk {chunk}");
        }
        assert_eq!(herd.faults(), Vec::<String>::new());
    });
}

#[test]
fn a_server_that_breaks_the_protocol_is_an_error_not_a_panic() {
    run(async {
        for length in [u32::MAX, 5] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = Endpoint::loopback(listener.local_addr().unwrap().port());
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        let mut header = [0; HEADER_BYTES];
                        let _ = stream.read_exact(&mut header).await;
                        let mut answer = [0_u8; HEADER_BYTES];
                        answer[12..16].copy_from_slice(&length.to_le_bytes());
                        let _ = stream.write_all(&answer).await;
                    });
                }
            });
            assert!(Disk::open(endpoint, "disk").await.is_err());
        }
    });
}

proptest! {
    #[test]
    fn pieces_cover_the_range_in_order(offset in 0_u64..1 << 30, length in 0_usize..1 << 24) {
        let pieces = cut(offset, length, SHIFT);
        let mut at = offset;
        let mut done = 0;
        for piece in &pieces {
            prop_assert_eq!((u64::from(piece.index) << SHIFT) + u64::from(piece.offset), at);
            prop_assert_eq!(piece.bytes.start, done);
            prop_assert!(!piece.bytes.is_empty());
            prop_assert!(piece.offset as usize + piece.bytes.len() <= 1 << SHIFT);
            done = piece.bytes.end;
            at = offset + done as u64;
        }
        prop_assert_eq!(done, length);
    }
}
