use sheepdog_proto::command::Command;

use super::*;

#[test]
fn a_fuse_waits_for_its_spark_and_then_counts_actions() {
    let mut fuse = Fuse { spark: Some(Spark::Proposal), left: 1, cuts_all_power: false };
    let other = Action::Live(sheepdog_proto::Vid::new(7).unwrap());
    let spark = Action::Propose(Command::Shutdown { time_ns: 0 });
    assert!(!fuse.ends_before(&other));
    assert!(!fuse.ends_before(&other), "nothing has set it on fire");
    assert!(!fuse.ends_before(&spark));
    assert!(fuse.ends_before(&other));
}
