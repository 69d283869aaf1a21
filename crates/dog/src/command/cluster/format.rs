//! `dog cluster format`: makes the cluster from the sheep that are up.

use sheepdog_client::admin::types::{Cluster, ErrorCode, FormatRequest};

use crate::cli::ClusterFormat;
use crate::confirm::confirm;
use crate::output::{self, Render};
use crate::session::Session;
use crate::trouble::Trouble;

const QUESTION: &str =
    "The cluster is not empty: formatting it again destroys the data of every VDI.";
const OTHERWISE: &str = "Answer yes, or give -f (--yes) to format without being asked.";

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
            confirm(QUESTION, OTHERWISE)?;
            request.force = true;
            session.client.format(&request).await?
        }
        answer => answer?,
    };
    output::print(options.common.form(), &Formatted(answer))
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
