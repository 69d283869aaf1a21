//! Targets: the cluster through each of its clients, and the floors it is compared with.

use crate::cluster::SHEEP_COUNT;
use crate::workload::Workload;

/// What a load is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Three sheep over NBD, by this program's own load.
    ClusterNbd,
    /// Three sheep over the first Sheepdog's protocol, by this program's own load.
    ClusterLegacy,
    /// Three sheep over NBD, by fio: says whether our own load is the bottleneck.
    ClusterFio,
    /// One file by fio, past the page cache; each write durable by itself.
    Raw,
    /// Three files at once, each as [`Target::Raw`]; one operation is one in each file.
    RawThree,
    /// One file by fio: writes through the page cache, one fdatasync for 32 of them.
    RawBatched,
    /// qemu-nbd on a file, past the page cache, each write durable.
    QemuDirectsync,
    /// qemu-nbd on a file, through the page cache, no write durable: the protocol alone.
    QemuWriteback,
    /// Bytes sent to another process over TCP and back: the sockets alone.
    Echo,
}

/// All of them, in the order in which they take turns.
pub const ALL: &[Target] = &[
    Target::ClusterNbd,
    Target::Raw,
    Target::ClusterLegacy,
    Target::RawThree,
    Target::QemuDirectsync,
    Target::ClusterFio,
    Target::RawBatched,
    Target::QemuWriteback,
    Target::Echo,
];

/// Writes for one sync of [`Target::RawBatched`].
pub const BATCH_WRITES: u32 = 32;

impl Target {
    /// For tables and for `--only`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterNbd => "cluster-nbd",
            Self::ClusterLegacy => "cluster-legacy",
            Self::ClusterFio => "cluster-nbd-fio",
            Self::Raw => "raw",
            Self::RawThree => "raw-x3",
            Self::RawBatched => "raw-sync32",
            Self::QemuDirectsync => "qemu-directsync",
            Self::QemuWriteback => "qemu-writeback",
            Self::Echo => "echo",
        }
    }

    /// It is the cluster, through whatever client.
    #[must_use]
    pub const fn is_cluster(self) -> bool {
        matches!(self, Self::ClusterNbd | Self::ClusterLegacy | Self::ClusterFio)
    }

    /// It is a file that fio works on.
    #[must_use]
    pub const fn is_raw(self) -> bool {
        matches!(self, Self::Raw | Self::RawThree | Self::RawBatched)
    }

    /// It is qemu-nbd.
    #[must_use]
    pub const fn is_qemu(self) -> bool {
        matches!(self, Self::QemuDirectsync | Self::QemuWriteback)
    }

    /// fio makes the load.
    #[must_use]
    pub const fn is_by_fio(self) -> bool {
        self.is_raw() || matches!(self, Self::ClusterFio)
    }

    /// Its writes survive a power cut once they are acknowledged.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        !matches!(self, Self::QemuWriteback | Self::Echo)
    }

    /// How often it stores what is written.
    #[must_use]
    pub const fn copies(self) -> usize {
        match self {
            Self::RawThree => SHEEP_COUNT,
            _ if self.is_cluster() => SHEEP_COUNT,
            _ => 1,
        }
    }

    /// The workload says something about it.
    #[must_use]
    pub fn takes(self, workload: &Workload) -> bool {
        match self {
            Self::RawThree => workload.is_write(),
            Self::RawBatched => {
                workload.is_write() && workload.bytes == 4096 && workload.depth == BATCH_WRITES
            }
            Self::Echo => workload.bytes == 4096,
            _ => true,
        }
    }
}
