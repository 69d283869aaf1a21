//! Words of the admin API: what goes over HTTP as JSON, in both directions.
//!
//! Why: one definition for the server (sheep) and for every client; a field here is a promise to
//!      scripts. Fields are only added; readers ignore what they do not know.
//! Way: names in paths are percent-encoded (everything but unreserved characters).
//!   GET    /v1/cluster                      -> Cluster
//!   POST   /v1/cluster/format     FormatRequest -> Cluster
//!   POST   /v1/cluster/shutdown             -> 202, empty
//!   GET    /v1/nodes                        -> [Node]          GET /v1/node -> NodeInfo (self)
//!   GET    /v1/node/disks                   -> [Disk]: of the sheep that answers, by id
//!   GET    /v1/vdis                         -> [Vdi]           GET /v1/vdis/{name} -> Vdi
//!   POST   /v1/vdis               NewVdi    -> 201, Vdi
//!   DELETE /v1/vdis/{name}                  -> 204
//!   POST   /v1/vdis/{name}/resize ResizeRequest -> Vdi
//!   POST   /v1/vdis/{name}/release          -> 204: the admin face lets go of the VDI here
//!   POST   /v1/vdis/{name}/unlock?here=    -> 204: the VDI was taken from whoever had it open
//!   GET    /v1/vdis/{name}/data?offset=&length=  -> octets, or 204: that range is a hole
//!   PUT    /v1/vdis/{name}/data?offset=     octets -> 204: durable
//!   DELETE /v1/vdis/{name}/data?offset=&length=  -> 204: reads as zeros from now on, durable
//!   GET    /v1/vdis/{name}/objects/{index}  -> ObjectPlace
//!   POST   /v1/vdis/{name}/check?from=&count=  -> VdiCheck: of the sheep that answers
//!   GET    /v1/objects/{oid}                -> bool: this sheep's own store has the object
//!   GET    /metrics                         -> Prometheus text
//! Errors: the status of [`ErrorCode::status`] and a [`Failure`] as body.
//! Not here: who asks (dog), who answers (sheep).

mod scalar;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sheepdog_proto::command;

pub use scalar::{Copies, VidHex};

/// Most bytes of one data request, in either direction.
pub const DATA_BYTES_MAX: u64 = 4 << 20;

/// Most objects of one check.
pub const CHECK_OBJECTS_MAX: u32 = 1024;

/// What the cluster as a whole does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterStatus {
    /// Serves clients.
    Running,
    /// Has no format yet.
    WaitingForFormat,
    /// Was told to stop.
    Stopping,
}

/// `GET /v1/cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// What it does.
    pub status: ClusterStatus,
    /// The rest of what `Format` decided; absent before.
    pub format: Option<ClusterFormat>,
    /// Sheep that are up.
    pub nodes_up: u32,
    /// Sheep that ever joined.
    pub nodes_known: u32,
    /// Redundancy classes in use, by number.
    pub classes: Vec<Class>,
    /// Last entry of the coordination log that the answering sheep has applied.
    pub log_index: u64,
    /// What the operator should look at; empty when all is well.
    pub warnings: Vec<Warning>,
}

/// What `cluster format` decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFormat {
    /// Random id of the cluster: 32 hexadecimal digits.
    pub cluster: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Copies of a VDI that does not ask for its own number.
    pub copies: Copies,
    /// Default object size is 2^this bytes.
    pub object_shift: u8,
    /// Placement groups per class.
    pub partitions: u32,
}

/// One redundancy class and the health of its placement groups. The five states add up to `total`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Number of the class.
    pub policy: u8,
    /// What was asked for.
    pub copies: Copies,
    /// Copies that each group has places for.
    pub copies_placed: u8,
    /// Groups.
    pub total: u32,
    /// Every copy is in sync and up, and where it shall be.
    pub clean: u32,
    /// Every copy is in sync and up; some are on their way to other sheep.
    #[serde(default)]
    pub moving: u32,
    /// Reads and writes go on with fewer copies than placed.
    pub degraded: u32,
    /// Reads go on, writes wait for copies or for the decision that a sheep is gone.
    pub waiting: u32,
    /// No copy in sync is up: reads wait too.
    pub unavailable: u32,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What is the matter, one sentence.
    pub message: String,
    /// What to do about it, one sentence.
    pub action: String,
}

/// `POST /v1/cluster/format`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatRequest {
    /// Default class.
    pub copies: Copies,
    /// Default object size is 2^this bytes; absent = 22 (4 MiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_shift: Option<u8>,
    /// 2^this placement groups per class; absent = the server's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_bits: Option<u8>,
    /// Also when VDIs exist: their data is lost. Without it such a cluster answers `not-empty`.
    #[serde(default)]
    pub force: bool,
}

/// One sheep, of `GET /v1/nodes`; by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number in the cluster, never reused.
    pub node: u16,
    /// Identity kept in its directory: 32 hexadecimal digits.
    pub uuid: String,
    /// Copies of one object go to different zones.
    pub zone: u32,
    /// Virtual nodes on the ring; 0 = stores nothing.
    pub weight: u32,
    /// Its current life goes on.
    pub up: bool,
    /// It has been down for so long that its copies are made elsewhere.
    #[serde(default)]
    pub out: bool,
    /// Its current or last life: index of the log entry by which it joined.
    pub incarnation: u64,
    /// Where it is reached.
    pub addresses: Addresses,
    /// It is the sheep that answers.
    pub this: bool,
}

/// Where a sheep is reached: `HOST:PORT` or `unix:PATH`; empty = not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Other sheep.
    pub peer: String,
    /// Clients of the first Sheepdog's protocol.
    pub legacy: String,
    /// NBD clients.
    pub nbd: String,
    /// `dog` and metrics.
    pub admin: String,
}

impl From<command::Addresses> for Addresses {
    fn from(addresses: command::Addresses) -> Self {
        let command::Addresses { peer, legacy, nbd, admin } = addresses;
        Self { peer, legacy, nbd, admin }
    }
}

/// `GET /v1/node`: the answering sheep's own store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its number in the cluster.
    pub node: u16,
    /// Version of the program.
    pub version: String,
    /// Data-plane threads.
    pub shards: u16,
    /// Bytes its store may use: used and available together. All 0 if it stores nothing.
    pub size: u64,
    /// Bytes in use by objects.
    pub used: u64,
    /// Bytes still free.
    pub available: u64,
    /// Data objects of each VDI for whose group this sheep is the first in-sync member that is
    /// up. Summed over all sheep that are up, every object counts once.
    pub objects: BTreeMap<VidHex, u64>,
    /// What is wrong with its disks, a sentence each.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// What it fetches from other sheep.
    #[serde(default)]
    pub recovery: Recovery,
}

/// Copies that a sheep lacks and fetches from others. Counters begin with its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Placement groups that it should hold and has not begun with.
    pub groups_waiting: u32,
    /// Placement groups whose objects it compares and fetches now.
    pub groups_joining: u32,
    /// Placement groups that have become complete.
    pub groups_done: u64,
    /// Objects that cannot have changed, accepted without a look.
    pub objects_accepted: u64,
    /// Objects of which checksums were compared or blocks fetched.
    pub objects_compared: u64,
    /// Objects that were deleted meanwhile.
    pub objects_dropped: u64,
    /// Bytes of blocks that were fetched.
    pub bytes_fetched: u64,
    /// About how long the rest will take, by how fast groups became complete in the last minute.
    /// Absent where nothing is missing, or nothing can be said yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

/// One disk of a sheep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its number on this sheep; given again when it is gone.
    pub id: u8,
    /// Its directory.
    pub path: String,
    /// Its identity: 32 hexadecimal digits; the sheep's own for the sheep's own directory.
    pub uuid: String,
    /// Bytes that it may use: used and available together. 0 if it cannot be used.
    pub size: u64,
    /// Bytes in use by objects.
    pub used: u64,
    /// Bytes still free.
    pub available: u64,
    /// Share of the buckets: bytes of its file system when it became a disk of this sheep.
    pub weight: u64,
    /// Buckets that it holds, of 256.
    pub buckets: u32,
    /// Buckets that are still to move to it or away from it.
    pub moving: u32,
    /// What it is doing.
    pub state: DiskState,
    /// Why it failed, or what keeps its buckets from moving.
    pub reason: Option<String>,
}

/// What a disk is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// Holds its buckets.
    Ok,
    /// Is let go when its buckets have moved away.
    Leaving,
    /// Failed in this life of its sheep or in an earlier one.
    Failed,
}

/// One VDI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vdi {
    /// Id.
    pub vid: VidHex,
    /// 1 to 255 bytes.
    pub name: String,
    /// Empty for a working VDI.
    pub tag: String,
    /// What old clients call the snapshot id, also of a working VDI.
    pub snap_id: u32,
    /// When the snapshot was taken, milliseconds since 1970; absent for a working VDI.
    pub snapshot_ms: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// Object size is 2^this bytes.
    pub object_shift: u8,
    /// What its class asks for.
    pub copies: Copies,
    /// Copies that its class has places for.
    pub copies_placed: u8,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// What it was cloned from.
    pub parent: Option<VidHex>,
    /// Who writes it now.
    pub attachment: Option<Holder>,
}

/// The sheep through which a VDI is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub node: u16,
    /// Its admin address: repeat a data request there.
    pub admin: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// Fencing number of the attachment.
    pub generation: u32,
}

/// `POST /v1/vdis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVdi {
    /// 1 to 255 bytes.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Absent = the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// Absent = the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_shift: Option<u8>,
}

/// `POST /v1/vdis/{name}/resize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    /// Bytes; not less than now.
    pub size: u64,
}

/// Query of the data requests. `length` is absent for PUT, where the body tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRange {
    /// First byte.
    pub offset: u64,
    /// Bytes; at most [`DATA_BYTES_MAX`] for GET, any for DELETE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// `GET /v1/vdis/{name}/objects/{index}`: where one data object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPlace {
    /// 16 hexadecimal digits.
    pub oid: String,
    /// Object number inside the VDI.
    pub index: u32,
    /// It was written and not discarded since.
    pub allocated: bool,
    /// Placement group: `CLASS.PARTITION`, the partition in hexadecimal.
    pub group: String,
    /// View of the group: log index of its last change.
    pub view: u64,
    /// Sheep that shall hold a copy, in ring order.
    pub targets: Vec<u16>,
    /// Sheep that hold every acknowledged write, whether up or not.
    pub in_sync: Vec<u16>,
    /// What each target or in-sync sheep says of its own copy.
    pub copies: Vec<ObjectCopy>,
}

/// One sheep's copy of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCopy {
    /// Which sheep.
    pub node: u16,
    /// It has the object; absent if it could not be asked (it is down).
    pub held: Option<bool>,
}

/// Query of `POST /v1/vdis/{name}/unlock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    /// Only if it is open through the asked sheep; others are not asked.
    #[serde(default)]
    pub here: bool,
}

/// Query of `POST /v1/vdis/{name}/check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRange {
    /// First object number.
    pub from: u32,
    /// Objects; at most [`CHECK_OBJECTS_MAX`].
    pub count: u32,
}

/// Answer to `POST /v1/vdis/{name}/check`: the copies of some objects of a VDI that the answering
/// sheep has in sync were read, verified, and compared with those of another sheep. What was bad
/// has been healed, or is being fetched anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VdiCheck {
    /// Copies looked at.
    pub objects: u64,
    /// Bytes read and verified.
    pub bytes: u64,
    /// Blocks (4 KiB) that could not be read or did not match their checksums.
    pub bad: u64,
    /// Of these, blocks that are good again.
    pub healed: u64,
    /// Blocks of which another copy has a newer change: the sheep fetches them.
    pub behind: u64,
    /// Blocks that differ from another copy in any other way.
    pub unequal: u64,
    /// Copies that could not be compared: nobody else has one in sync, or answers.
    pub alone: u64,
}

/// Which disk is to be put in or taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRequest {
    /// Absolute path of its directory, on the host of the sheep.
    pub path: String,
}

/// Body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind; for programs.
    pub code: ErrorCode,
    /// What is wrong, one sentence; for people.
    pub message: String,
    /// What to do next; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// With `locked`: who has the VDI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// An argument makes no sense.
    Invalid,
    /// No such VDI, object or path.
    NotFound,
    /// A working VDI has that name.
    Exists,
    /// Formatting again is not possible.
    AlreadyFormatted,
    /// VDIs exist; formatting needs `force`.
    NotEmpty,
    /// Format the cluster first.
    NotFormatted,
    /// Fewer zones are up than copies asked for.
    TooFewZones,
    /// A VDI cannot become smaller.
    Shrink,
    /// Somebody has the VDI open; see [`Failure::holder`].
    Locked,
    /// No room for new objects.
    NoSpace,
    /// No copy with a right checksum, or a disk failed.
    Io,
    /// The coordination log or the copies cannot be reached now.
    Unavailable,
    /// The cluster or this sheep is stopping.
    Stopping,
    /// A mistake in the program.
    Internal,
    /// A code that this program does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Exists
            | Self::AlreadyFormatted
            | Self::NotEmpty
            | Self::NotFormatted
            | Self::TooFewZones
            | Self::Shrink => 409,
            Self::Locked => 423,
            Self::NoSpace => 507,
            Self::Unavailable | Self::Stopping => 503,
            Self::Io | Self::Internal | Self::Unknown => 500,
        }
    }
}

#[cfg(test)]
#[path = "types/tests.rs"]
mod tests;
