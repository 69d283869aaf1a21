//! Output of an inspection: lines for people as they come, or one JSON document at the end.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use sheepdog_store::inspect::Fault;

/// Where everything goes.
pub(crate) struct Output<'a> {
    /// `None` for text.
    document: Option<Map<String, Value>>,
    stdout: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    pub(crate) fn new(json: bool, stdout: &'a mut dyn Write) -> Self {
        Self { document: json.then(Map::new), stdout }
    }

    /// A line of text; nothing where JSON was asked for.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        match self.document {
            None => writeln!(self.stdout, "{}", text.as_ref()),
            Some(_) => Ok(()),
        }
    }

    /// A value of the document; nothing where text was asked for.
    pub(crate) fn set(&mut self, key: &str, value: impl FnOnce() -> Value) {
        if let Some(document) = &mut self.document {
            document.insert(key.to_owned(), value());
        }
    }

    /// Adds to a list of the document.
    pub(crate) fn push(&mut self, key: &str, value: impl FnOnce() -> Value) {
        let Some(document) = &mut self.document else { return };
        let list = document.entry(key).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(value());
        }
    }

    /// Makes sure that a list is there, if only empty.
    pub(crate) fn list(&mut self, key: &str) {
        if let Some(document) = &mut self.document {
            document.entry(key).or_insert_with(|| json!([]));
        }
    }

    /// A fault in text, with what to do, and in the list `faults`. `prefix` is the directory of
    /// its store below the one that was given.
    pub(crate) fn fault(&mut self, prefix: &str, fault: &Fault) -> io::Result<()> {
        let word = if fault.kind.is_harmless() { "harmless" } else { "bad" };
        self.line(format!("{word}: {prefix}{fault}"))?;
        self.line(format!("    {}", fault.kind.advice()))?;
        self.push("faults", || fault_value(prefix, fault));
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        if let Some(document) = self.document {
            writeln!(self.stdout, "{:#}", Value::Object(document))?;
        }
        self.stdout.flush()
    }
}

fn fault_value(prefix: &str, fault: &Fault) -> Value {
    json!({
        "file": format!("{prefix}{}", fault.place.file),
        "offset": fault.place.offset,
        "what": fault.kind.to_string(),
        "harmless": fault.kind.is_harmless(),
        "advice": fault.kind.advice(),
    })
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["bytes", "KiB", "MiB", "GiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// Ascending numbers with their runs drawn together: `1, 4-7`.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => runs.push((number, number)),
        }
    }
    let shown = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}
