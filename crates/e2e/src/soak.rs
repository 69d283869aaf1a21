//! Soak: kill rounds without end, and the page that keeps their figures.
//!
//! Way: the page is read, rounds are done from where it says that the last run stopped, and
//!      after each round it is written anew: a row for each commit and form.
//! Holds:
//!   SO1 a round that found something wrong is on the page before the program ends.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kills::{Field, Figures, Form, Scale};

/// Rounds in one herd before a new one is started.
const ROUNDS_PER_FIELD: u64 = 50;
const FORMS: [(Form, &str); 3] =
    [(Form::All, "all of 3"), (Form::Alone, "alone"), (Form::OneOfThree, "1 of 3")];
const HEAD: &str = "\
# Kill rounds

What `cargo xtask soak-kill` has found, by commit and by who was killed: all of three sheep at once, a
sheep that is alone, or one of three. A round is one load, one kill or several, and a look at every block
of two disks, in the stores of dead sheep and through every face. Blocks in doubt were written by a change
that nobody acknowledged; they were old or new. The program writes this page.

| commit | killed | rounds | kills | changes | blocks compared | in doubt, old | in doubt, new | seconds | wrong |
|---|---|---|---|---|---|---|---|---|---|
";
const WRONG: &str = "\n## Wrong\n\n";

/// A row of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    commit: String,
    form: String,
    figures: Figures,
    seconds: u64,
    wrong: u64,
}

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    rows: Vec<Row>,
    wrong: Vec<String>,
}

impl Page {
    /// Reads the page; one that is not there is empty.
    ///
    /// # Errors
    /// If it is not as `render` makes it.
    pub fn load(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let (table, wrong) = text.split_once(WRONG).unwrap_or((text, ""));
        let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows = rows.filter(|line| line.starts_with('|')).map(Row::parse);
        let wrong = wrong.lines().filter_map(|line| line.strip_prefix("* "));
        Ok(Self { rows: rows.collect::<Result<_>>()?, wrong: wrong.map(str::to_owned).collect() })
    }

    fn render(&self) -> String {
        let mut text = HEAD.to_owned();
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.render());
        }
        if !self.wrong.is_empty() {
            text.push_str(WRONG);
        }
        for wrong in &self.wrong {
            let _ = writeln!(text, "* {wrong}");
        }
        text
    }

    /// Rounds of a commit, of any form.
    #[must_use]
    pub fn rounds(&self, commit: &str) -> u64 {
        let rows = self.rows.iter().filter(|row| row.commit == commit);
        rows.map(|row| row.figures.rounds).sum()
    }

    fn row(&mut self, commit: &str, form: &str) -> &mut Row {
        let is_it = |row: &Row| row.commit == commit && row.form == form;
        let index = self.rows.iter().position(is_it).unwrap_or_else(|| {
            let (commit, form) = (commit.to_owned(), form.to_owned());
            self.rows.push(Row { commit, form, ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// In one rename, so that a run that is stopped leaves a whole page.
    fn save(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&new, self.render()).with_context(|| new.display().to_string())?;
        fs::rename(&new, path).with_context(|| path.display().to_string())
    }
}

impl Row {
    fn parse(line: &str) -> Result<Self> {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = |cell: usize| -> Result<u64> {
            let text = cells.get(cell).with_context(|| format!("a cell is missing: {line}"))?;
            text.parse().with_context(|| line.to_owned())
        };
        let text = |cell: usize| cells.get(cell).copied().unwrap_or_default().to_owned();
        let figures = Figures {
            rounds: number(2)?,
            kills: number(3)?,
            acknowledged: number(4)?,
            blocks: number(5)?,
            old: number(6)?,
            new: number(7)?,
        };
        let (seconds, wrong) = (number(8)?, number(9)?);
        Ok(Self { commit: text(0), form: text(1), figures, seconds, wrong })
    }

    fn render(&self) -> String {
        let Self { commit, form, figures, seconds, wrong } = self;
        let Figures { rounds, kills, acknowledged, blocks, old, new } = figures;
        format!(
            "| {commit} | {form} | {rounds} | {kills} | {acknowledged} | {blocks} | {old} | {new} \
             | {seconds} | {wrong} |"
        )
    }
}

/// A run.
#[derive(Debug)]
pub struct Soak {
    path: PathBuf,
    commit: String,
    page: Page,
    fields: [Option<(Field, u64)>; 3],
}

impl Soak {
    /// Goes on where the page says.
    ///
    /// # Errors
    /// If the page cannot be read.
    pub fn open(path: &Path, commit: &str) -> Result<Self> {
        let page = Page::load(path)?;
        let (path, commit) = (path.to_owned(), commit.to_owned());
        Ok(Self { path, commit, page, fields: [None, None, None] })
    }

    /// Goes on until this commit has so many rounds.
    ///
    /// # Errors
    /// What was wrong in a round.
    pub async fn run(&mut self, rounds: u64) -> Result<()> {
        let mut round = self.page.rounds(&self.commit);
        println!("{round} rounds of {} so far", self.commit);
        while round < rounds {
            // Of ten rounds the alone sheep has six, for they are short.
            let index = match round % 10 {
                0 | 3 | 6 => 0,
                9 => 2,
                _ => 1,
            };
            self.round(index, round).await.with_context(|| format!("round {round}"))?;
            round += 1;
            if round.is_multiple_of(20) || round == rounds {
                println!("{round} rounds of {rounds}");
            }
        }
        for (field, _) in self.fields.iter_mut().filter_map(Option::take) {
            field.end().await?;
        }
        Ok(())
    }

    async fn round(&mut self, index: usize, round: u64) -> Result<()> {
        let started = Instant::now();
        let (form, name) = FORMS[index];
        let result = self.do_round(index, round).await;
        let row = self.page.row(&self.commit, name);
        row.seconds += started.elapsed().max(Duration::from_secs(1)).as_secs();
        match &result {
            Ok(figures) => row.figures.add(figures),
            Err(error) => {
                row.figures.rounds += 1;
                row.wrong += 1;
                let text = format!("{error:#}").replace('\n', " ");
                self.page.wrong.push(format!("{} round {round} ({form:?}): {text}", self.commit));
            }
        }
        self.page.save(&self.path)?; // SO1
        if result.is_err()
            && let Some((field, _)) = self.fields[index].take()
        {
            println!("everything is left in {}", field.keep().display());
        }
        result.map(drop)
    }

    async fn do_round(&mut self, index: usize, round: u64) -> Result<Figures> {
        let form = FORMS[index].0;
        let (mut field, done) = match self.fields[index].take() {
            Some(there) => there,
            None => {
                let large = round % 4 == 3;
                let scale = if large {
                    Scale { mib: 32, changes_max: 3000 }
                } else {
                    Scale { mib: 4, changes_max: 600 }
                };
                (Field::start(form, scale, round + 1).await?, 0)
            }
        };
        let figures = field.round().await;
        let is_last = form == Form::OneOfThree || done + 1 == ROUNDS_PER_FIELD;
        if figures.is_ok() && is_last {
            field.end().await?;
        } else {
            self.fields[index] = Some((field, done + 1));
        }
        figures
    }
}

#[cfg(test)]
#[path = "soak/tests.rs"]
mod tests;
