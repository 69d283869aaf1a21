//! How long files and functions are.

use std::collections::BTreeMap;

use super::source::Source;

/// A file above this is refused.
pub(super) const FILE_LINES_MAX: usize = 600;
/// A file above this is counted, as a sign that it wants to become a folder.
pub(super) const FILE_LINES_GOOD: usize = 400;
/// A function outside tests above this is refused.
pub(super) const FUNCTION_LINES_MAX: usize = 70;

/// A file, or a function of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measured {
    /// A file by its path.
    File(String),
    /// A function by its file and name; the longest of that name counts.
    Function(String, String),
}

/// The lengths of all files and of all functions outside tests.
pub(super) fn measure(sources: &[Source]) -> BTreeMap<Measured, usize> {
    let mut lengths = BTreeMap::new();
    for source in sources {
        lengths.insert(Measured::File(source.path.clone()), source.line_count());
        for function in source.functions() {
            if !source.is_test(function.line) {
                let key = Measured::Function(source.path.clone(), function.name);
                let longest = lengths.entry(key).or_insert(0);
                *longest = function.lines.max(*longest);
            }
        }
    }
    lengths
}

impl Measured {
    /// The limit without an exception.
    pub(super) const fn limit(&self) -> usize {
        match self {
            Self::File(_) => FILE_LINES_MAX,
            Self::Function(..) => FUNCTION_LINES_MAX,
        }
    }

    /// The file it is in.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::File(path) | Self::Function(path, _) => path,
        }
    }

    /// What to do about it when it is too long.
    pub(super) const fn advice(&self) -> &'static str {
        match self {
            Self::File(_) => "make it a folder of files, each with one subject",
            Self::Function(..) => "name its steps as functions of their own",
        }
    }
}
