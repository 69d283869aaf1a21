//! Table: rows of words, laid out for a terminal or as Markdown.
//!
//! Holds:
//!   A1 the first two columns are words and stand left, all others are figures and stand right.

/// Columns that stand left.
const WORDS: usize = 2;

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// As many words each as the head has.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows.
    #[must_use]
    pub fn new(title: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|word| (*word).to_owned()).collect();
        Self { title: title.to_owned(), head, rows: Vec::new() }
    }

    /// In columns with blanks between them.
    #[must_use]
    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|column| self.width(column)).collect();
        let mut lines = vec![self.title.clone()];
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let words = row.iter().zip(&widths).enumerate();
            let words = words.map(|(column, (word, width))| match column {
                0..WORDS => format!("{word:<width$}"),
                _ => format!("{word:>width$}"), // A1
            });
            let line = words.collect::<Vec<_>>().join("  ");
            lines.push(line.trim_end().to_owned());
        }
        lines.join("\n") + "\n"
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |words: &[String]| format!("| {} |\n", words.join(" | "));
        let marks: Vec<String> = (0..self.head.len())
            .map(|column| if column < WORDS { "---" } else { "---:" }.to_owned())
            .collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("**{}**\n\n{}{}{rows}", self.title, line(&self.head), line(&marks))
    }

    fn width(&self, column: usize) -> usize {
        let rows = std::iter::once(&self.head).chain(&self.rows);
        rows.filter_map(|row| row.get(column)).map(|word| word.chars().count()).max().unwrap_or(0)
    }
}

/// A figure with as many digits as say something: three or all in front of the point, with commas
/// between thousands.
#[must_use]
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.map(|digits| format!(".{digits}")).unwrap_or_default();
    format!("{sign}{grouped}{fraction}")
}

/// A figure, or a dash for what was not measured.
#[must_use]
pub fn figure_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), figure)
}
