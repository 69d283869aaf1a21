//! Copies: a small file that has its contents twice.
//!
//! Way: the copies are written and synced one after the other; a bad one is written again from
//!      the good one when the file is read.
//! Holds:
//!   CY1 at any moment one copy is whole; of two whole ones that differ the later one counts;
//!   CY2 the file gets its name only after both copies are synced.

use std::io::ErrorKind;

use sheepdog_proto::wire::WireError;

use crate::disk::{Disk, DiskError, FileId};
use crate::error::{Corruption, StoreError};

/// What such a file holds.
pub(crate) trait Copied: Sized + PartialEq {
    /// Name of the file.
    const PATH: &'static str;
    /// Its name until both copies are synced.
    const NEW_PATH: &'static str;
    /// Bytes of one copy.
    const COPY_BYTES: usize;
    /// Where the copies begin.
    const COPY_OFFSETS: [u64; 2];

    /// One copy as it is written.
    fn encode(&self) -> Vec<u8>;
    /// The contents, if these bytes are a whole copy.
    fn verify(bytes: &[u8]) -> Result<Self, WireError>;
    /// Rises with each change.
    fn counter(&self) -> u64;

    /// What to say if no copy is whole.
    fn bad(first: WireError, second: WireError) -> Corruption {
        Corruption::Copies { path: Self::PATH, first, second }
    }

    /// Reads the file, and writes a bad copy anew. `None` if there is no such file.
    fn load(disk: &mut dyn Disk) -> Result<Option<Self>, StoreError> {
        Ok(Self::load_repaired(disk)?.map(|(contents, _)| contents))
    }

    /// As `load`; true if a copy had to be written.
    fn load_repaired(disk: &mut dyn Disk) -> Result<Option<(Self, bool)>, StoreError> {
        let file = match disk.open(Self::PATH) {
            Ok(file) => file,
            Err(DiskError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let loaded = load_copies(disk, file);
        disk.close(file);
        loaded.map(Some)
    }

    /// Makes the file, or replaces its contents; durable on return.
    fn save(&self, disk: &mut dyn Disk) -> Result<(), StoreError> {
        match self.replace(disk) {
            Err(StoreError::Io { kind: ErrorKind::NotFound, .. }) => self.create(disk),
            other => other,
        }
    }

    /// Replaces the contents of the file, which must be there; durable on return.
    fn replace(&self, disk: &mut dyn Disk) -> Result<(), StoreError> {
        let file = disk.open(Self::PATH)?;
        let written = write_copies(self, disk, file);
        disk.close(file);
        Ok(written?)
    }

    /// CY2.
    fn create(&self, disk: &mut dyn Disk) -> Result<(), StoreError> {
        match disk.remove(Self::NEW_PATH) {
            Ok(()) | Err(DiskError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let file = disk.create(Self::NEW_PATH)?;
        let written = write_copies(self, disk, file);
        disk.close(file);
        written?;
        disk.rename(Self::NEW_PATH, Self::PATH)?;
        disk.sync_dir("")?;
        Ok(())
    }
}

/// The second copy is touched only when the first is synced (CY1).
fn write_copies<T: Copied>(
    contents: &T,
    disk: &mut dyn Disk,
    file: FileId,
) -> Result<(), DiskError> {
    let bytes = contents.encode();
    for offset in T::COPY_OFFSETS {
        disk.write_at(file, offset, &[&bytes])?;
        disk.sync(file)?;
    }
    Ok(())
}

fn load_copies<T: Copied>(disk: &mut dyn Disk, file: FileId) -> Result<(T, bool), StoreError> {
    let mut verify = |offset| -> Result<_, StoreError> {
        let mut bytes = vec![0; T::COPY_BYTES];
        let count = disk.read_at(file, offset, &mut bytes)?;
        Ok(if count == bytes.len() { T::verify(&bytes) } else { Err(WireError::Short) })
    };
    let [first, second] = T::COPY_OFFSETS;
    let good = match (verify(first)?, verify(second)?) {
        (Ok(first), Ok(second)) if first == second => return Ok((first, false)),
        (Ok(first), Ok(second)) if second.counter() > first.counter() => second,
        // A newer program wrote one of the copies: do not write over it.
        (Err(first @ WireError::Version(_)), Ok(_)) => return Err(T::bad(first, first).into()),
        (Ok(_), Err(second @ WireError::Version(_))) => return Err(T::bad(second, second).into()),
        (Ok(first), _) => first,
        (_, Ok(second)) => second,
        (Err(first), Err(second)) => return Err(T::bad(first, second).into()),
    };
    write_copies(&good, disk, file)?;
    Ok((good, true))
}

#[cfg(test)]
#[path = "copies/tests.rs"]
mod tests;
