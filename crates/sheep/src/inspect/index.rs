//! The index: its pages and their slots.

use anyhow::Result;
use serde_json::{Value, json};
use sheepdog_proto::wire::WireError;
use sheepdog_store::inspect::IndexPage;

use super::output::Output;
use super::verify::show_faults;
use super::{OpenStore, Verdict};

/// The pages of the index and their slots.
pub(crate) fn show(stores: &mut [OpenStore], output: &mut Output<'_>) -> Result<Verdict> {
    output.list("pages");
    for store in stores.iter_mut() {
        let number = store.place.number;
        let mut result = Ok(());
        store.inspection.index_pages(&mut |page| {
            if result.is_ok() {
                result = index_page(number, &page, output);
            }
        });
        result?;
    }
    show_faults(stores, output)
}

fn index_page(store: u16, page: &IndexPage, output: &mut Output<'_>) -> Result<()> {
    let copy = |number: usize| match (page.used == Some(number), &page.copies[number]) {
        (true, _) => "used".to_owned(),
        (false, Ok(())) => "whole".to_owned(),
        (false, Err(WireError::Short)) => "never written".to_owned(),
        (false, Err(why)) => why.to_string(),
    };
    let version = page.version.map_or_else(|| "any".to_owned(), |version| version.to_string());
    output.line(format!(
        "store {store}, page {}, version {version}, {} slots in use; at byte {}: {}; at {}: {}",
        page.number,
        page.slots.len(),
        page.offsets[0],
        copy(0),
        page.offsets[1],
        copy(1)
    ))?;
    for slot in &page.slots {
        let units: Vec<String> = slot
            .units
            .iter()
            .map(|unit| unit.map_or_else(|| "-".to_owned(), |unit| unit.to_string()))
            .collect();
        output.line(format!(
            "  slot {:>5}  {}  part {}  base {}  newest {}  view {}  pages {:?}  blocks {:?}  \
             units {}",
            slot.number,
            slot.oid,
            slot.fragment,
            slot.base,
            slot.newest,
            slot.modified,
            slot.versions,
            slot.present,
            units.join(" ")
        ))?;
    }
    output.push("pages", || page_value(store, page));
    Ok(())
}

fn page_value(store: u16, page: &IndexPage) -> Value {
    let copies = page.copies.iter().zip(page.offsets).map(
        |(copy, offset)| json!({"offset": offset, "fault": copy.err().map(|why| why.to_string())}),
    );
    let slots = page.slots.iter().map(|slot| {
        json!({
            "slot": slot.number,
            "oid": slot.oid.to_string(),
            "object_shift": slot.object_shift,
            "fragment": slot.fragment,
            "base": slot.base.to_string(),
            "newest": slot.newest.to_string(),
            "view": slot.modified.0,
            "units": slot.units,
            "versions": slot.versions,
            "present": slot.present,
        })
    });
    json!({
        "store": store,
        "page": page.number,
        "version": page.version,
        "used_copy": page.used,
        "copies": copies.collect::<Vec<_>>(),
        "slots": slots.collect::<Vec<_>>(),
    })
}
