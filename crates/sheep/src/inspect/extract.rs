//! Extraction: the bytes of an object, or the image of a VDI, in a file.
//!
//! Holds:
//!   EX1 no byte is written that did not match its checksum; what is lost stays zeros, and is
//!       named;
//!   EX2 a file that exists is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sheepdog_proto::{BLOCK_BYTES, ObjectKind, Oid, Vid};
use sheepdog_store::BlockState;
use sheepdog_store::inspect::ObjectBytes;

use super::output::{Output, ranges, size};
use super::verify::show_faults;
use super::{OpenStore, Verdict};

/// A file that is being written, with holes where nothing is known.
struct Image {
    file: File,
    size: u64,
    written: u64,
}

impl Image {
    fn create(path: &Path, size: u64) -> Result<Self> {
        let on_path = || format!("{}", path.display());
        let file = match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{} exists; name a file that does not", path.display())
            }
            Err(error) => return Err(error).with_context(on_path),
        };
        file.set_len(size).with_context(on_path)?;
        Ok(Self { file, size, written: 0 })
    }

    /// Writes the data blocks of an object that are not lost.
    fn write(&mut self, start: u64, object: &ObjectBytes) -> Result<()> {
        for block in &object.view.blocks {
            let is_data = matches!(block.state, BlockState::Data { .. });
            if !is_data || object.lost.binary_search(&block.number).is_ok() {
                continue;
            }
            let place = block.number as usize * BLOCK_BYTES;
            let offset = start + place as u64;
            let count = self.size.saturating_sub(offset).min(BLOCK_BYTES as u64) as usize;
            let Some(bytes) = object.bytes.get(place..place + count) else { continue };
            self.file.write_all_at(bytes, offset).context("writing the image")?;
            self.written += count as u64;
        }
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        self.file.sync_all().context("writing the image")?;
        Ok(self.written)
    }
}

/// An object from the store that has it; the one with the newest blocks, should there be two.
fn find(stores: &mut [OpenStore], oid: Oid) -> Option<(String, ObjectBytes)> {
    let newest = |object: &ObjectBytes| object.view.blocks.iter().map(|block| block.stamp).max();
    let found = stores.iter_mut().filter_map(|store| {
        let object = store.inspection.read_object(oid)?;
        Some((store.prefix.clone(), object))
    });
    found.max_by_key(|(_, object)| newest(object))
}

/// Writes one object.
pub(crate) fn object(
    stores: &mut [OpenStore],
    oid: Oid,
    to: &Path,
    output: &mut Output<'_>,
) -> Result<Verdict> {
    let Some((prefix, object)) = find(stores, oid) else {
        show_faults(stores, output)?;
        bail!("object {oid} is not here; --objects lists those that are");
    };
    let mut image = Image::create(to, object.bytes.len() as u64)?;
    image.write(0, &object)?;
    let written = image.finish()?;
    show_faults(stores, output)?;
    for fault in &object.faults {
        output.fault(&prefix, fault)?;
    }
    let lost = &object.lost;
    output.line(format!("{} written to {}", size(written), to.display()))?;
    if !lost.is_empty() {
        output.line(format!("lost blocks, which are zeros: {}", ranges(lost.iter().copied())))?;
    }
    output.set("written_bytes", || json!(written));
    output.set("lost_blocks", || json!(lost));
    Ok(verdict(stores, lost.is_empty()))
}

/// What is here was extracted whole, and nothing hides more.
fn verdict(stores: &[OpenStore], is_whole: bool) -> Verdict {
    let mut faults = stores.iter().flat_map(|store| store.inspection.faults());
    let is_good = is_whole && faults.all(|fault| fault.kind.is_harmless());
    if is_good { Verdict::Good } else { Verdict::Bad }
}

/// What became of the objects of a VDI.
#[derive(Debug, Default)]
struct Tally {
    objects: BTreeSet<u32>,
    /// Blocks that are lost, by object.
    lost: BTreeMap<u32, Vec<u32>>,
    /// Objects that begin behind the end of the image.
    beyond: BTreeSet<u32>,
    shift: Option<u8>,
}

/// Writes the image of a VDI.
pub(crate) fn vdi(
    stores: &mut [OpenStore],
    vid: Vid,
    image_size: u64,
    to: &Path,
    output: &mut Output<'_>,
) -> Result<Verdict> {
    let oids = data_objects(stores, vid);
    if oids.is_empty() {
        show_faults(stores, output)?;
        bail!("no data of VDI {vid} are here; --objects lists what is");
    }
    let mut image = Image::create(to, image_size)?;
    let mut tally = Tally::default();
    output.list("faults");
    for oid in oids {
        let Some((prefix, object)) = find(stores, oid) else { continue };
        for fault in &object.faults {
            output.fault(&prefix, fault)?;
        }
        let (index, shift) = (oid.index(), object.view.object_shift);
        tally.shift = Some(shift);
        let start = u64::from(index) << shift;
        if start >= image_size {
            tally.beyond.insert(index);
            continue;
        }
        image.write(start, &object)?;
        tally.objects.insert(index);
        if !object.lost.is_empty() {
            tally.lost.insert(index, object.lost);
        }
    }
    let written = image.finish()?;
    let map = Map::load(stores, vid, image_size, &tally);
    tally.beyond.extend(&map.beyond);
    show_faults(stores, output)?;
    output.line(format!(
        "{} in {} objects of VDI {vid} written to {}",
        size(written),
        tally.objects.len(),
        to.display()
    ))?;
    report(&tally, &map, output)?;
    output.set("written_bytes", || json!(written));
    let is_whole = tally.lost.is_empty() && tally.beyond.is_empty() && map.is_whole();
    Ok(verdict(stores, is_whole))
}

fn data_objects(stores: &mut [OpenStore], vid: Vid) -> BTreeSet<Oid> {
    let all = stores.iter_mut().flat_map(|store| store.inspection.objects());
    let is_data = |oid: &Oid| oid.vid() == vid && oid.kind() == ObjectKind::Data;
    all.map(|object| object.oid).filter(is_data).collect()
}

/// What the VDI's map says, if it is here.
#[derive(Debug, Default)]
struct Map {
    is_here: bool,
    /// Objects that exist and are not here.
    missing: Vec<u32>,
    /// Objects of which a lost block of the map would know.
    unknown: Vec<u32>,
    /// Objects that exist behind the end of the image.
    beyond: Vec<u32>,
}

impl Map {
    fn load(stores: &mut [OpenStore], vid: Vid, image_size: u64, tally: &Tally) -> Self {
        let mut map = Self::default();
        let (Some((_, object)), Some(shift)) = (find(stores, Oid::map(vid, 0)), tally.shift) else {
            return map;
        };
        map.is_here = true;
        let count = image_size.div_ceil(1 << shift);
        let (words, _) = object.bytes.as_chunks::<4>();
        for (index, word) in (0_u32..).zip(words) {
            let block = index / (BLOCK_BYTES / 4) as u32;
            let is_known = object.lost.binary_search(&block).is_err();
            let exists = u32::from_le_bytes(*word) == vid.get();
            match (u64::from(index) < count, is_known) {
                (true, _) if tally.objects.contains(&index) => {}
                (true, false) => map.unknown.push(index),
                (true, true) if exists => map.missing.push(index),
                (false, true) if exists => map.beyond.push(index),
                _ => {}
            }
        }
        map
    }

    fn is_whole(&self) -> bool {
        self.is_here && self.missing.is_empty() && self.unknown.is_empty()
    }
}

/// What is missing.
fn report(tally: &Tally, map: &Map, output: &mut Output<'_>) -> Result<()> {
    for (index, lost) in &tally.lost {
        let lost = ranges(lost.iter().copied());
        output.line(format!("object {index}: lost blocks, which are zeros: {lost}"))?;
    }
    if !tally.beyond.is_empty() {
        let beyond = ranges(tally.beyond.iter().copied());
        output.line(format!("behind the end of the image, is --size right? objects {beyond}"))?;
    }
    if !map.is_here {
        output.line(
            "the map of the VDI is not here, so nobody can say here which objects exist elsewhere; \
             what is missing is zeros",
        )?;
    }
    if !map.missing.is_empty() {
        let missing = ranges(map.missing.iter().copied());
        output.line(format!("not here, but the VDI has them, so zeros: objects {missing}"))?;
    }
    if !map.unknown.is_empty() {
        let unknown = ranges(map.unknown.iter().copied());
        output.line(format!("not here, and the map is damaged, so unknown: objects {unknown}"))?;
    }
    output.line("other sheep may have newer data than this one")?;
    let shift = tally.shift.unwrap_or_default();
    output.set("object_shift", || json!(shift));
    output.set("objects", || json!(tally.objects));
    output.set("lost", || {
        let lost = tally.lost.iter().map(|(index, lost)| json!({"object": index, "blocks": lost}));
        json!(lost.collect::<Vec<_>>())
    });
    output.set("beyond_size", || json!(tally.beyond));
    output.set("map_here", || json!(map.is_here));
    output.set("missing_objects", || json!(map.missing));
    output.set("unknown_objects", || json!(map.unknown));
    Ok(())
}
