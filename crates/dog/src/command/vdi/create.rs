//! `dog vdi create`: a new, empty VDI.

use sheepdog_client::admin::types::{NewVdi, Vdi};

use crate::cli::VdiCreate;
use crate::output::{self, Render};
use crate::session::Session;
use crate::trouble::Trouble;

pub(crate) async fn run(options: &VdiCreate) -> Result<(), Trouble> {
    let session = Session::open(&options.common).await?;
    let request = NewVdi {
        name: options.name.clone(),
        size: options.size,
        copies: options.copies,
        object_shift: options.object_shift,
    };
    let vdi = session.client.create(&request).await.map_err(|error| {
        Trouble::from(error).context(format!("cannot create VDI '{}'", options.name))
    })?;
    output::print(options.common.form(), &Created { vdi, verbose: options.verbose })
}

struct Created {
    vdi: Vdi,
    verbose: bool,
}

impl Render for Created {
    fn human(&self) -> String {
        if !self.verbose {
            return String::new();
        }
        format!("VDI ID of newly created VDI: {}\n", self.vdi.vid)
    }

    fn raw(&self) -> String {
        if self.verbose { format!("{}\n", self.vdi.vid) } else { String::new() }
    }

    fn json(&self) -> serde_json::Result<String> {
        output::document(&self.vdi)
    }
}
