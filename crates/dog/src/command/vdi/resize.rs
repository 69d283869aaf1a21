//! `dog vdi resize`: a larger size.

use sheepdog_client::admin::types::ErrorCode;

use crate::cli::VdiResize;
use crate::output::{self, Form};
use crate::session::Session;
use crate::trouble::{Exit, Trouble};

pub(crate) async fn run(options: &VdiResize) -> Result<(), Trouble> {
    let session = Session::open(&options.common).await?;
    let vdi = session.client.resize(&options.name, options.size).await.map_err(|error| {
        let mut trouble = Trouble::from(error);
        if trouble.code == Some(ErrorCode::Shrink) {
            // The first Sheepdog took a smaller size for a mistake on the command line.
            trouble.exit = Exit::Usage;
        }
        trouble.context(format!("cannot resize VDI '{}'", options.name))
    })?;
    if options.common.form() != Form::Json {
        return Ok(());
    }
    let text = output::document(&vdi).map_err(|error| Trouble::failure(error.to_string()))?;
    output::print_text(&text)
}
