//! Output: what a command prints on stdout when it succeeds.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::trouble::Trouble;

/// The form asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: tables and sentences.
    Human,
    /// For scripts of the first Sheepdog: its columns, single spaces, no header.
    Raw,
    /// For programs: one JSON document.
    Json,
}

/// One answer in its three forms.
pub(crate) trait Render {
    /// Text for people.
    fn human(&self) -> String;
    /// The first Sheepdog's raw columns.
    fn raw(&self) -> String;
    /// The document.
    fn json(&self) -> serde_json::Result<String>;
}

/// Prints `answer`.
pub(crate) fn print(form: Form, answer: &impl Render) -> Result<(), Trouble> {
    let text = match form {
        Form::Human => answer.human(),
        Form::Raw => answer.raw(),
        Form::Json => answer.json().map_err(|error| Trouble::failure(error.to_string()))?,
    };
    print_text(&text)
}

/// Prints `text` as it is.
pub(crate) fn print_text(text: &str) -> Result<(), Trouble> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Trouble::failure("the reader of this output has gone away"),
        _ => Trouble::failure(format!("cannot write the output: {error}")),
    })
}

/// A readable document with a line end.
pub(crate) fn document(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

/// White space and backslashes get a backslash in front.
pub(crate) fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_whitespace() || letter == '\\' {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}
