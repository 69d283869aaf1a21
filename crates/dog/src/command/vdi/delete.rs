//! `dog vdi delete`: a VDI and its data are gone.

use crate::cli::VdiName;
use crate::output::{self, Form};
use crate::session::Session;
use crate::trouble::Trouble;

pub(crate) async fn run(options: &VdiName) -> Result<(), Trouble> {
    let session = Session::open(&options.common).await?;
    session.client.delete(&options.name).await.map_err(|error| {
        Trouble::from(error).context(format!("cannot delete VDI '{}'", options.name))
    })?;
    if options.common.form() != Form::Json {
        return Ok(());
    }
    output::print_text(&format!("{}\n", serde_json::json!({ "deleted": options.name })))
}
