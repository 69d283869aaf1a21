//! The faults: name, rule, file, and the lines that are replaced.

use anyhow::{Context, Result, bail, ensure};

use crate::repository::Repository;

/// Where they are written down.
const FOLDER: &str = "xtask/mutants/";

/// One fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The rule that it breaks, by the name it has in the code.
    pub(crate) rule: String,
    pub(crate) file: String,
    old: Vec<String>,
    new: Vec<String>,
}

impl Mutant {
    /// The text of the file with the fault in it.
    ///
    /// # Errors
    /// If the text that it replaces is not there exactly once: then the list must be mended.
    pub(crate) fn put_into(&self, text: &str) -> Result<String> {
        let (old, new) = (self.old.join("\n"), self.new.join("\n"));
        let count = text.matches(&old).count();
        ensure!(count == 1, "{}: its text is {count} times in {}", self.name, self.file);
        Ok(text.replacen(&old, &new, 1))
    }
}

/// The list for the cluster simulator.
const FOR_SIM: &str = "xtask/mutants/sim.txt";

/// All faults for tests, or those for the cluster simulator, each put into its file once to see
/// that it can be.
pub(crate) fn load(repository: &Repository, for_sim: bool) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let is_wanted = |path: &&String| path.starts_with(FOLDER) && (*path == FOR_SIM) == for_sim;
    for path in repository.files()?.iter().filter(is_wanted) {
        let text = repository.text(path)?.with_context(|| format!("{path} is no text"))?;
        mutants.extend(parse(&text).with_context(|| path.clone())?);
    }
    for mutant in &mutants {
        let text = repository.text(&mutant.file)?.with_context(|| mutant.file.clone())?;
        mutant.put_into(&text)?;
    }
    Ok(mutants)
}

/// Reads a list.
pub(crate) fn parse(text: &str) -> Result<Vec<Mutant>> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            ensure!(mutants.iter().all(|mutant| mutant.name != name), "{name} is there twice");
            mutants.push(Mutant { name: name.to_owned(), ..Mutant::default() });
            continue;
        }
        let mutant = mutants.last_mut().with_context(|| format!("`{line}` before any name"))?;
        match line.split_at_checked(line.find(' ').map_or(line.len(), |at| at + 1)) {
            Some(("rule ", rule)) => rule.clone_into(&mut mutant.rule),
            Some(("file ", file)) => file.clone_into(&mut mutant.file),
            Some(("- ", old)) => mutant.old.push(old.to_owned()),
            Some(("+ " | "+", new)) => mutant.new.push(new.to_owned()),
            _ => bail!("`{line}` is neither a rule, a file, nor a line of text"),
        }
    }
    for mutant in &mutants {
        let is_whole = !mutant.rule.is_empty() && !mutant.file.is_empty();
        ensure!(is_whole && !mutant.old.is_empty(), "{} lacks something", mutant.name);
        ensure!(mutant.old != mutant.new, "{} changes nothing", mutant.name);
    }
    Ok(mutants)
}
