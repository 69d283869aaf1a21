//! One Rust file, with its code, comments and literals told apart.
//!
//! Why: a banned word in a string or a brace in a comment must not count as code. This is a
//!      lexer of six states, not a parser; it never has to understand the program.
//! Holds:
//!   S1 both views have exactly the lines and columns of the file, blanks where the rest was;
//!   S2 a line is a test line if its file is one or an item marked as a test spans it.

use std::ops::Range;

/// What a character belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name without its type.
    pub(super) name: String,
    /// The line of its `fn`, from 1.
    pub(super) line: usize,
    /// Lines from its `fn` to its closing brace.
    pub(super) lines: usize,
}

/// A Rust file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its path in the tree, with `/`.
    pub(super) path: String,
    lines: Vec<String>,
    code: Vec<String>,
    comments: Vec<String>,
    literals: Vec<String>,
    test: Vec<bool>,
}

impl Source {
    /// Takes a file apart.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let kinds = classify(&characters);
        let view = |kind| lines_of(&characters, &kinds, kind);
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            code: view(Kind::Code),
            comments: view(Kind::Comment),
            literals: view(Kind::Literal),
            test: Vec::new(),
        };
        source.test = vec![is_test_path(path); source.lines.len()];
        for range in source.test_items() {
            source.test[range].fill(true);
        }
        source
    }

    /// The folder in `crates/` this file belongs to.
    pub(super) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// How many lines it has.
    pub(super) const fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// Lines as they are, numbered from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.lines)
    }

    /// Lines without comments and literals, numbered from 1.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.code)
    }

    /// Lines with nothing but their comments, numbered from 1.
    pub(super) fn comments(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.comments)
    }

    /// Lines with nothing but what is inside quotes, numbered from 1.
    pub(super) fn literals(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.literals)
    }

    /// Whether the line with this number belongs to tests.
    pub(super) fn is_test(&self, line: usize) -> bool {
        self.test.get(line - 1).copied().unwrap_or(false)
    }

    /// Whether the line with this number ends in `// allow: REASON`.
    pub(super) fn is_allowed(&self, line: usize) -> bool {
        let comment = self.comments.get(line - 1).map_or("", String::as_str);
        let reason = comment.split_once("// allow:").map_or("", |(_, reason)| reason);
        !reason.trim().is_empty()
    }

    /// Makes every line a test line, for a module declared under `#[cfg(test)]`.
    pub(super) fn mark_test(&mut self) {
        self.test.fill(true);
    }

    /// Paths of the files that this file declares as modules for tests only.
    pub(super) fn test_modules(&self) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (folder, file) = stem.rsplit_once('/').unwrap_or(("", stem));
        let inner = if ["lib", "main", "mod"].contains(&file) { folder } else { stem };
        let mut paths = Vec::new();
        for range in self.test_items() {
            let item = self.code[range].join(" ");
            let Some((_, after)) = item.split_once("mod ") else { continue };
            if let Some((name, "")) = after.trim().split_once(';') {
                paths.push(format!("{inner}/{name}.rs"));
                paths.push(format!("{inner}/{name}/mod.rs"));
            }
        }
        paths
    }

    /// Every function that has a body.
    pub(super) fn functions(&self) -> Vec<Function> {
        let code: Vec<char> = self.code.join("\n").chars().collect();
        let mut functions = Vec::new();
        for start in words(&code, "fn") {
            let name: String = code[start + 2..]
                .iter()
                .skip_while(|c| c.is_whitespace())
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .collect();
            let Some(end) = item_end(&code, start) else { continue };
            if name.is_empty() || code[end] == ';' {
                continue;
            }
            let line = line_of(&code, start);
            functions.push(Function { name, line, lines: line_of(&code, end) - line + 1 });
        }
        functions
    }

    /// Line ranges (from 0) of items behind `#[cfg(test)]` or `#[test]`.
    fn test_items(&self) -> Vec<Range<usize>> {
        let code: Vec<char> = self.code.join("\n").chars().collect();
        let text: String = code.iter().map(|c| if c.is_ascii() { *c } else { '?' }).collect();
        let mut ranges = Vec::new();
        for mark in ["#[cfg(test)]", "#[test]"] {
            for (start, _) in text.match_indices(mark) {
                let end = item_end(&code, start + mark.len()).unwrap_or(code.len() - 1);
                ranges.push(line_of(&code, start) - 1..line_of(&code, end));
            }
        }
        ranges
    }
}

/// Whether a path alone says that a file holds tests.
fn is_test_path(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("crates/e2e/")
}

fn numbered(lines: &[String]) -> impl Iterator<Item = (usize, &str)> {
    lines.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
}

fn lines_of(characters: &[char], kinds: &[Kind], wanted: Kind) -> Vec<String> {
    let kept = characters.iter().zip(kinds).map(|(c, kind)| match c {
        '\n' => '\n',
        _ if *kind == wanted => *c,
        _ => ' ',
    });
    kept.collect::<String>().lines().map(str::to_owned).collect()
}

fn line_of(code: &[char], at: usize) -> usize {
    code[..at].iter().filter(|c| **c == '\n').count() + 1
}

fn is_word(c: Option<&char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

/// Where a word stands alone.
fn words(code: &[char], word: &str) -> Vec<usize> {
    let word: Vec<char> = word.chars().collect();
    let alone = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| code.get(before));
        !is_word(before) && !is_word(code.get(at + word.len()))
    };
    (0..code.len()).filter(|at| code[*at..].starts_with(&word) && alone(*at)).collect()
}

/// The `;` or the last `}` of the item that starts at `start`.
fn item_end(code: &[char], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in code.iter().enumerate().skip(start) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && *c == '}' {
                    return Some(at);
                }
            }
            ';' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Says of each character what it belongs to.
fn classify(text: &[char]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let (kind, end) = match text[at] {
            '/' if text.get(at + 1) == Some(&'/') => (Kind::Comment, line_end(text, at)),
            '/' if text.get(at + 1) == Some(&'*') => (Kind::Comment, block_end(text, at)),
            '"' => (Kind::Literal, quote_end(text, at, '"')),
            'r' => match raw_end(text, at) {
                Some(end) => (Kind::Literal, end),
                None => (Kind::Code, at + 1),
            },
            '\'' if is_character(text, at) => (Kind::Literal, quote_end(text, at, '\'')),
            _ => (Kind::Code, at + 1),
        };
        let end = end.min(text.len());
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

fn line_end(text: &[char], start: usize) -> usize {
    text[start..].iter().position(|c| *c == '\n').map_or(text.len(), |length| start + length)
}

/// The end of a block comment, which may hold others.
fn block_end(text: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quote_end(text: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of a raw string whose `r` stands here, if it is one.
fn raw_end(text: &[char], start: usize) -> Option<usize> {
    let prefix = matches!(start.checked_sub(1).map(|before| text[before]), Some('b' | 'c'));
    let before = start.checked_sub(1 + usize::from(prefix)).and_then(|before| text.get(before));
    if is_word(before) {
        return None;
    }
    let hashes = text[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.resize(1 + hashes, '#');
    let length = text[open + 1..].windows(close.len()).position(|part| part == close);
    Some(length.map_or(text.len(), |length| open + 1 + length + close.len()))
}

/// Whether a `'` opens a character and not a lifetime.
fn is_character(text: &[char], at: usize) -> bool {
    text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\'')
}

#[cfg(test)]
#[path = "source/tests.rs"]
mod tests;
