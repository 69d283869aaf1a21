//! `dog cluster shutdown`: stops every sheep in order.

use crate::cli::Common;
use crate::output::{self, Form};
use crate::session::Session;
use crate::trouble::Trouble;

pub(crate) async fn run(common: &Common) -> Result<(), Trouble> {
    let session = Session::open(common).await?;
    session.client.shutdown().await?;
    match common.form() {
        Form::Human => output::print_text("Every sheep has been told to stop.\n"),
        Form::Raw => Ok(()),
        Form::Json => output::print_text("{\"stopping\":true}\n"),
    }
}
