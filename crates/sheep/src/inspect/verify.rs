//! Verification: every checksum of every store.

use anyhow::Result;
use serde_json::json;
use sheepdog_store::inspect::{HomeInspection, Verified};

use super::output::Output;
use super::output::size;
use super::{OpenStore, Verdict};

/// Faults that may hide something from a list.
pub(crate) fn show_faults(stores: &mut [OpenStore], output: &mut Output<'_>) -> Result<Verdict> {
    output.list("faults");
    for store in stores {
        let prefix = store.prefix.clone();
        for fault in store.inspection.faults() {
            output.fault(&prefix, fault)?;
        }
    }
    Ok(Verdict::Good)
}

/// Checks everything.
pub(crate) fn show(
    home: &HomeInspection,
    stores: &mut [OpenStore],
    output: &mut Output<'_>,
) -> Result<Verdict> {
    output.list("faults");
    output.list("stores");
    let mut bad = 0;
    for fault in &home.faults {
        bad += u64::from(!fault.kind.is_harmless());
        output.fault("", fault)?;
    }
    for store in stores {
        let prefix = store.prefix.clone();
        let number = store.place.number;
        let mut result = Ok(());
        let verified = store.inspection.verify(&mut |fault| {
            if result.is_ok() {
                result = output.fault(&prefix, fault);
            }
        });
        result?;
        bad += verified.bad;
        let Verified { objects, damaged_objects, blocks, .. } = verified;
        output.line(format!(
            "store {number}: {objects} objects, {damaged_objects} of them damaged; {blocks} blocks \
             ({}) checked; {} faults, and {} that are harmless",
            size(verified.bytes),
            verified.bad,
            verified.harmless
        ))?;
        output.push("stores", || {
            json!({
                "number": number,
                "objects": objects,
                "damaged_objects": damaged_objects,
                "blocks": blocks,
                "bytes": verified.bytes,
                "bad": verified.bad,
                "harmless": verified.harmless,
            })
        });
    }
    output.set("good", || json!(bad == 0));
    output.line(if bad == 0 { "everything is good" } else { "NOT everything is good" })?;
    Ok(if bad == 0 { Verdict::Good } else { Verdict::Bad })
}
