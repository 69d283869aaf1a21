//! Commands: one file per verb, in the folder of its noun.

mod cluster;
mod node;
mod vdi;

use crate::cli::{Cli, ClusterVerb, Common, LockVerb, MdVerb, NodeVerb, Noun, ObjectVerb, VdiVerb};
use crate::playground;
use crate::trouble::Trouble;

/// Carries out one command line.
pub(crate) async fn run(cli: Cli) -> Result<(), Trouble> {
    match cli.noun {
        Noun::Cluster(verb) => match verb {
            ClusterVerb::Format(options) => cluster::format::run(&options).await,
            ClusterVerb::Info(common) => cluster::info::run(&common).await,
            ClusterVerb::Shutdown(common) => cluster::shutdown::run(&common).await,
        },
        Noun::Node(verb) => match verb {
            NodeVerb::List(common) => node::list::run(&common).await,
            NodeVerb::Info(common) => node::info::run(&common).await,
            NodeVerb::Recovery(common) => node::recovery::run(&common).await,
            NodeVerb::Md(MdVerb::Info(common)) => node::md::info(&common).await,
            NodeVerb::Md(MdVerb::Plug(options)) => node::md::plug(&options).await,
            NodeVerb::Md(MdVerb::Unplug(options)) => node::md::unplug(&options).await,
        },
        Noun::Vdi(verb) => match verb {
            VdiVerb::Create(options) => vdi::create::run(&options).await,
            VdiVerb::Delete(options) => vdi::delete::run(&options).await,
            VdiVerb::List(options) => vdi::list::run(&options).await,
            VdiVerb::Resize(options) => vdi::resize::run(&options).await,
            VdiVerb::Read(options) => vdi::read::run(&options).await,
            VdiVerb::Write(options) => vdi::write::run(&options).await,
            VdiVerb::Check(options) => vdi::check::run(&options).await,
            VdiVerb::Lock(LockVerb::List(common)) => vdi::lock::list(&common).await,
            VdiVerb::Lock(LockVerb::Unlock(options)) => vdi::lock::unlock(&options).await,
            VdiVerb::Object(ObjectVerb::Location(options)) => vdi::object::run(&options).await,
        },
        Noun::Playground(options) => playground::run(&options).await,
        Noun::Tether(options) => Err(playground::tether::run(&options)),
    }
}

/// Whether trouble is to be told as JSON too.
pub(crate) fn wants_json(cli: &Cli) -> bool {
    match &cli.noun {
        Noun::Playground(options) => options.json,
        noun => common(noun).is_some_and(|common| common.json),
    }
}

const fn common(noun: &Noun) -> Option<&Common> {
    Some(match noun {
        Noun::Cluster(ClusterVerb::Format(options)) => &options.common,
        Noun::Cluster(ClusterVerb::Info(common) | ClusterVerb::Shutdown(common))
        | Noun::Node(
            NodeVerb::List(common) | NodeVerb::Info(common) | NodeVerb::Recovery(common),
        ) => common,
        Noun::Node(NodeVerb::Md(MdVerb::Info(common))) => common,
        Noun::Node(NodeVerb::Md(MdVerb::Plug(options) | MdVerb::Unplug(options))) => {
            &options.common
        }
        Noun::Vdi(verb) => match verb {
            VdiVerb::Create(options) => &options.common,
            VdiVerb::Delete(options) => &options.common,
            VdiVerb::List(options) => &options.common,
            VdiVerb::Resize(options) => &options.common,
            VdiVerb::Read(options) | VdiVerb::Write(options) => &options.common,
            VdiVerb::Check(options) => &options.common,
            VdiVerb::Lock(LockVerb::List(common)) => common,
            VdiVerb::Lock(LockVerb::Unlock(options)) => &options.common,
            VdiVerb::Object(ObjectVerb::Location(options)) => &options.common,
        },
        Noun::Playground(_) | Noun::Tether(_) => return None,
    })
}
