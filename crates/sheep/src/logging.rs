//! Structured logs on standard error. A line about a request carries its id as `request`.

use tracing_subscriber::fmt;

use crate::config::{LogFormat, Options};

/// Starts logging for the life of the process.
pub(crate) fn start(options: &Options) {
    let builder = fmt::fmt().with_max_level(options.loglevel).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
