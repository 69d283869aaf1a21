//! The house style of STYLE.md as a program.
//!
//! Why: what a program can check, no reviewer has to; every message says what to do.
//! Way: one module per subject; each takes a [`Source`], the [`Graph`] or all files, and adds
//!      to [`Findings`]. `// allow: REASON` at the end of a line lifts the line rules there.
//! Not here: formatting (rustfmt), lints of the language (clippy).

mod dependency;
mod floor;
mod length;
mod licence;
mod link;
mod machine;
mod pure;
mod ratchet;
mod source;
mod text;
mod word;

use anyhow::{Context, Result};

use crate::cargo::Graph;
use crate::repository::Repository;
use ratchet::Ratchet;
use source::Source;

/// Where the exceptions to the length limits are kept.
const RATCHET: &str = "xtask/ratchet.txt";

/// What was found wrong, in the order it was found.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
}

impl Findings {
    /// Adds a finding about a line of a file, counted from 1; line 0 means the whole file.
    fn add(&mut self, path: &str, line: usize, message: impl AsRef<str>) {
        let message = message.as_ref();
        self.lines.push(match line {
            0 => format!("{path}: {message}"),
            _ => format!("{path}:{line}: {message}"),
        });
    }
}

/// Checks everything and prints what to do; `false` if anything was found.
pub(crate) fn run(repository: &Repository) -> Result<bool> {
    let graph = Graph::load(repository)?;
    let files = repository.files()?;
    let sources = load(repository, &files)?;
    let mut findings = Findings::default();

    for source in &sources {
        floor::check_source(source, &mut findings);
        pure::check(source, &mut findings);
        text::check(source, &mut findings);
        word::check(source, &mut findings);
    }
    floor::check_manifests(&graph, &mut findings);
    let page = repository.text(dependency::PAGE).ok().flatten();
    let packages = dependency::check(&graph, page.as_deref(), &mut findings);
    licence::check(&graph, &mut findings);
    let long = check_lengths(repository, &sources, &mut findings)?;

    let machine = machine::Machine::here(repository);
    let mut documents = Vec::new();
    for path in &files {
        if let Some(text) = repository.text(path)? {
            machine.check(path, &text, &mut findings);
            documents.push((path.clone(), text));
        }
    }
    link::check(&documents, &sources, &mut findings);

    for line in &findings.lines {
        println!("{line}");
    }
    println!(
        "tidy: {} problems in {} Rust files; {packages} packages in what ships; \
         {long} files over {} lines",
        findings.lines.len(),
        sources.len(),
        length::FILE_LINES_GOOD,
    );
    Ok(findings.lines.is_empty())
}

/// Rewrites the exceptions with what is still needed and never with more.
pub(crate) fn shrink_ratchet(repository: &Repository) -> Result<()> {
    let sources = load(repository, &repository.files()?)?;
    let text = repository.text(RATCHET)?.unwrap_or_default();
    let ratchet = Ratchet::parse(&text).context(RATCHET)?;
    let shrunk = ratchet.shrunk(&length::measure(&sources)).render(&text);
    if shrunk != text {
        std::fs::write(repository.root().join(RATCHET), shrunk).context(RATCHET)?;
    }
    Ok(())
}

/// Checks lengths and the exceptions; returns how many files are longer than is good.
fn check_lengths(
    repository: &Repository,
    sources: &[Source],
    findings: &mut Findings,
) -> Result<usize> {
    let text = repository.text(RATCHET)?.unwrap_or_default();
    let ratchet = Ratchet::parse(&text).context(RATCHET)?;
    for commit in ["HEAD", "HEAD^"] {
        if let Some(text) = repository.text_at(commit, RATCHET) {
            let before = Ratchet::parse(&text).with_context(|| format!("{commit}:{RATCHET}"))?;
            ratchet.check_against(&before, commit, findings);
        }
    }
    ratchet.check(&length::measure(sources), findings);
    Ok(sources.iter().filter(|source| source.line_count() > length::FILE_LINES_GOOD).count())
}

fn load(repository: &Repository, files: &[String]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let text = repository.text(path)?.with_context(|| format!("{path} is not UTF-8"))?;
        sources.push(Source::new(path, &text));
    }
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in sources.iter_mut().filter(|source| tests.contains(&source.path)) {
        source.mark_test();
    }
    Ok(sources)
}
