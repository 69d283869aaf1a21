//! The table of verdicts: what is asserted of each recorded pair.
//!
//! Way: the head of `table.tsv` tells its columns. Of several rows that cover a pair, the one that
//!      covers the fewest counts.

use std::ops::RangeInclusive;

use super::Scenario;
use crate::wire::WireError;

const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/legacy/table.tsv"));

/// What is asserted of one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Our answer equals the recorded one.
    Replayed,
    /// Not sent: it needs what the text names.
    Later(String),
    /// Ours differs on purpose.
    Different {
        /// Our result code; `None`: not sent.
        code: Option<u32>,
        /// Why.
        reason: String,
    },
}

/// A VDI that must exist before a scenario starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// Before which.
    pub scenario: String,
    /// Of the VDI.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Objects, from the first, that must have been written.
    pub objects: u32,
}

#[derive(Clone, Debug)]
struct Row {
    scenario: String,
    pairs: RangeInclusive<u16>,
    verdict: Verdict,
}

/// All verdicts.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    preparations: Vec<Preparation>,
    replayed_min: usize,
}

impl Table {
    /// The committed one.
    ///
    /// # Errors
    /// `Invalid` if it is damaged.
    pub fn committed() -> Result<Self, WireError> {
        Self::parse(TABLE)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// `Invalid` or `Short` for a line that is no row.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            table.add(line)?;
        }
        Ok(table)
    }

    fn add(&mut self, line: &str) -> Result<(), WireError> {
        let mut columns = line.split('\t');
        let mut next = || columns.next().ok_or(WireError::Short);
        let scenario = next()?.to_owned();
        let pairs = next()?;
        if scenario == "replayed-min" {
            self.replayed_min = pairs.parse().map_err(|_| WireError::Invalid("number"))?;
            return Ok(());
        }
        if pairs == "vdi" {
            let number = |text: &str| text.parse().map_err(|_| WireError::Invalid("number"));
            let (name, size) = (next()?.to_owned(), number(next()?)?);
            let objects = next().ok().map_or(Ok(0), number)? as u32;
            self.preparations.push(Preparation { scenario, name, size, objects });
            return Ok(());
        }
        let pairs = range(pairs)?;
        let verdict = match next()? {
            "replayed" => Verdict::Replayed,
            "later" => Verdict::Later(next()?.to_owned()),
            "different" => Verdict::Different { code: code(next()?)?, reason: next()?.to_owned() },
            _ => return Err(WireError::Invalid("verdict")),
        };
        self.rows.push(Row { scenario, pairs, verdict });
        Ok(())
    }

    /// The verdict on one pair; `None` if no row names it (C1).
    #[must_use]
    pub fn verdict(&self, scenario: &str, pair: u16) -> Option<&Verdict> {
        let rows = self.rows.iter().filter(|row| row.scenario == scenario);
        let narrowest = rows
            .filter(|row| row.pairs.contains(&pair))
            .min_by_key(|row| u32::from(*row.pairs.end()) - u32::from(*row.pairs.start()));
        narrowest.map(|row| &row.verdict)
    }

    /// What must exist before `scenario`.
    pub fn preparations(&self, scenario: &str) -> impl Iterator<Item = &Preparation> {
        self.preparations.iter().filter(move |preparation| preparation.scenario == scenario)
    }

    /// Rows that name no recorded pair, two rows that are equally narrow, and pairs without a row.
    #[must_use]
    pub fn gaps(&self, scenarios: &[Scenario]) -> Vec<String> {
        let mut gaps = Vec::new();
        for scenario in scenarios {
            let missing = scenario.pairs().filter(|p| self.verdict(&scenario.name, *p).is_none());
            gaps.extend(missing.map(|pair| format!("{} pair {pair} has no row", scenario.name)));
        }
        for (position, row) in self.rows.iter().enumerate() {
            let scenario = scenarios.iter().find(|scenario| scenario.name == row.scenario);
            if !scenario.is_some_and(|s| s.pairs().any(|pair| row.pairs.contains(&pair))) {
                gaps.push(format!("row {} {:?} names nothing", row.scenario, row.pairs));
            }
            let same = |other: &Row| other.scenario == row.scenario && other.pairs == row.pairs;
            if self.rows[..position].iter().any(same) {
                gaps.push(format!("row {} {:?} stands twice", row.scenario, row.pairs));
            }
        }
        gaps
    }

    /// Pairs that are replayed: as the table says, and as it must at least say (C2).
    #[must_use]
    pub fn replayed(&self, scenarios: &[Scenario]) -> (usize, usize) {
        let count = |scenario: &Scenario| {
            let verdict = |pair| self.verdict(&scenario.name, pair);
            scenario.pairs().filter(|pair| verdict(*pair) == Some(&Verdict::Replayed)).count()
        };
        (scenarios.iter().map(count).sum(), self.replayed_min)
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, WireError> {
    let number = |text: &str| text.parse().map_err(|_| WireError::Invalid("number"));
    match text.split_once('-') {
        _ if text == "all" => Ok(1..=u16::MAX),
        Some((first, last)) => Ok(number(first)?..=number(last)?),
        None => Ok(number(text)?..=number(text)?),
    }
}

fn code(text: &str) -> Result<Option<u32>, WireError> {
    if text == "-" {
        return Ok(None);
    }
    let digits = text.strip_prefix("0x").ok_or(WireError::Invalid("code"))?;
    u32::from_str_radix(digits, 16).map(Some).map_err(|_| WireError::Invalid("code"))
}
