//! `dog cluster format`: makes the cluster from the sheep that are up.

use std::io::{BufRead, Write};

use sheepdog_client::admin::types::{Cluster, ErrorCode, FormatRequest};

use crate::cli::ClusterFormat;
use crate::output::{self, Render};
use crate::session::Session;
use crate::trouble::Trouble;

pub(crate) async fn run(options: &ClusterFormat) -> Result<(), Trouble> {
    let session = Session::open(&options.common).await?;
    let mut request = FormatRequest {
        copies: options.copies,
        object_shift: Some(options.object_shift),
        partition_bits: options.partition_bits,
        force: options.force,
    };
    let answer = match session.client.format(&request).await {
        Err(error) if error.failure().is_some_and(|f| f.code == ErrorCode::NotEmpty) => {
            confirm()?;
            request.force = true;
            session.client.format(&request).await?
        }
        answer => answer?,
    };
    output::print(options.common.form(), &Formatted(answer))
}

/// Asks on the terminal; without one, the answer is the next line of stdin.
fn confirm() -> Result<(), Trouble> {
    eprint!(
        "The cluster is not empty: formatting it again destroys the data of every VDI.\n\
         Are you sure? [yes/no]: "
    );
    // A prompt that is not seen is still answered.
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_ok() && line.trim_start().to_ascii_lowercase().starts_with("yes") {
        return Ok(());
    }
    Err(Trouble::failure("nothing was changed")
        .hint("Answer yes, or give -f (--yes) to format without being asked."))
}

struct Formatted(Cluster);

impl Render for Formatted {
    fn human(&self) -> String {
        let Some(format) = &self.0.format else { return String::new() };
        let placed = self.0.classes.first().map_or(0, |class| class.copies_placed);
        format!(
            "Formatted: {} sheep, {} copies ({} now), {} placement groups.\n",
            self.0.nodes_up, format.copies, placed, format.partitions
        )
    }

    fn raw(&self) -> String {
        String::new()
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(&self.0)
    }
}
