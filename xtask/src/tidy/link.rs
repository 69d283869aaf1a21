//! Links between the documents of this tree lead somewhere.
//!
//! Way: `[text](target)` and `[name]: target` in Markdown outside code, and every
//!      `docs/....md` in a comment of a Rust file. Anchors are checked as they are made from
//!      headings: lower case, spaces to `-`, other marks gone.
//! Not here: links to the web, which a test without a network cannot follow.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use super::source::Source;

/// Checks the Markdown among all files, given as path and text, and the Rust files.
pub(super) fn check(documents: &[(String, String)], sources: &[Source], findings: &mut Findings) {
    let mut known = BTreeSet::new();
    let mut anchors = BTreeMap::new();
    for (path, text) in documents {
        for (end, _) in path.match_indices('/') {
            known.insert(path[..end].to_owned());
        }
        known.insert(path.clone());
        if path.ends_with(".md") {
            anchors.insert(path.as_str(), headings(text));
        }
    }
    for (path, text) in documents.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            if let Err(problem) = resolve(path, &target, &known, &anchors) {
                findings.add(path, line, format!("the link `{target}` {problem}"));
            }
        }
    }
    for source in sources {
        for (line, comment) in source.comments() {
            for page in pages(comment).filter(|page| !known.contains(*page)) {
                let message = format!("`{page}` does not exist: write it, or correct the name");
                findings.add(&source.path, line, message);
            }
        }
    }
}

fn resolve(
    path: &str,
    target: &str,
    known: &BTreeSet<String>,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let full = match file {
        "" => path.to_owned(),
        _ => join(folder, file).ok_or("leads out of the tree")?,
    };
    if !full.is_empty() && !known.contains(&full) {
        return Err("leads to no file: correct it, or add the file");
    }
    match anchors.get(full.as_str()) {
        Some(headings) if !anchor.is_empty() && !headings.contains(anchor) => {
            Err("leads to no heading of that page")
        }
        _ => Ok(()),
    }
}

/// A relative path from a folder, without `.` and `..`; nothing if it leaves the tree.
fn join(folder: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    if file.starts_with('/') {
        return None;
    }
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Lines outside fenced code, numbered from 1, with code spans blanked.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let parts = line.split('`').enumerate();
            let kept = parts.map(|(part, text)| if part % 2 == 0 { text } else { "" });
            lines.push((index + 1, kept.collect::<Vec<_>>().join("`")));
        }
    }
    lines
}

/// Link targets with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (line, text) in prose(text) {
        for (at, _) in text.match_indices("](") {
            if let Some((target, _)) = text[at + 2..].split_once(')') {
                let target = target.split_whitespace().next().unwrap_or_default();
                targets.push((line, target.trim_matches(['<', '>']).to_owned()));
            }
        }
        if let Some((_, target)) = text.strip_prefix('[').and_then(|text| text.split_once("]: ")) {
            targets.push((line, target.split_whitespace().next().unwrap_or_default().to_owned()));
        }
    }
    targets
}

/// The anchors of a page's headings; a second one of the same name gets `-1`, and so on.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|a| !anchors.contains(a));
        anchors.extend(free);
    }
    anchors
}

/// Every `docs/....md` in a comment.
fn pages(comment: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    comment.match_indices("docs/").filter_map(move |(start, _)| {
        let name = &comment[start..];
        let end = name.find(|c| !inside(c)).unwrap_or(name.len());
        let page = name[..end].trim_end_matches('.');
        let whole = !comment[..start].ends_with(inside);
        (whole && page.ends_with(".md") && !page.contains("..")).then_some(page)
    })
}

#[cfg(test)]
#[path = "link/tests.rs"]
mod tests;
