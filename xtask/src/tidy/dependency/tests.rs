use std::fmt::Write as _;

use super::*;

/// A `sheep` that needs `count` packages, one of them for its tests only.
fn graph(count: usize) -> Graph {
    let mut packages = String::new();
    let mut edges = String::new();
    for index in 0..count {
        let kind = if index == 0 { "\"dev\"" } else { "null" };
        write!(packages, r#", {{"id": "p{index}", "name": "p{index}", "source": "r"}}"#).unwrap();
        let comma = if index == 0 { "" } else { ", " };
        write!(edges, r#"{comma}{{"pkg": "p{index}", "dep_kinds": [{{"kind": {kind}}}]}}"#)
            .unwrap();
    }
    let text = format!(
        r#"{{"packages": [{{"id": "s", "name": "sheepdog-sheep", "source": null,
            "manifest_path": "/tree/crates/sheep/Cargo.toml",
            "dependencies": [{{"name": "tokio"}}, {{"name": "own", "path": "/tree/crates/x"}}]}}
            {packages}],
          "resolve": {{"nodes": [{{"id": "s", "deps": [{edges}]}}]}}}}"#
    );
    Graph::parse(&text, "/tree").unwrap()
}

fn found(count: usize, page: Option<&str>) -> Vec<String> {
    let mut findings = Findings::default();
    check(&graph(count), page, &mut findings);
    findings.lines
}

#[test]
fn package_151_is_refused_and_packages_of_tests_are_not_counted() {
    assert_eq!(found(150, Some("`tokio`")), Vec::<String>::new());
    let refused = found(151, Some("`tokio`"));
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("151 packages"), "{refused:?}");
}

#[test]
fn a_direct_dependency_must_be_named_on_the_page() {
    assert_eq!(found(1, Some("no tokio in backticks, only `tokio-util`")).len(), 1);
    assert_eq!(found(1, None).len(), 1);
}
