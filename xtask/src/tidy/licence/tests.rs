use super::*;

fn ours(text: &str) -> Option<bool> {
    satisfied(text, &|licence| ALLOWED.contains(&licence))
}

fn found(folder: &str, licence: &str) -> usize {
    let text = format!(
        r#"{{"packages": [
            {{"id": "s", "name": "ours", "license": "MIT", "source": null,
              "manifest_path": "/tree/{folder}/Cargo.toml", "dependencies": []}},
            {{"id": "p", "name": "p", "license": {licence}, "source": "r"}}],
          "resolve": {{"nodes": [
            {{"id": "s", "deps": [{{"pkg": "p", "dep_kinds": [{{"kind": null}}]}}]}}]}}}}"#
    );
    let mut findings = Findings::default();
    check(&Graph::parse(&text, "/tree").unwrap(), &mut findings);
    findings.lines.len()
}

#[test]
fn one_accepted_choice_is_enough_and_every_part_is_needed() {
    for text in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "GPL-2.0 OR (MIT AND Zlib)",
    ] {
        assert_eq!(ours(text), Some(true), "{text}");
    }
    for text in [
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND OpenSSL",
        "GPL-2.0 WITH Classpath-exception-2.0",
        "MPL-2.0",
    ] {
        assert_eq!(ours(text), Some(false), "{text}");
    }
}

#[test]
fn a_malformed_expression_is_not_accepted() {
    for text in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH"] {
        assert_eq!(ours(text), None, "{text}");
    }
}

#[test]
fn a_package_with_a_foreign_or_no_licence_is_refused() {
    assert_eq!(found("crates/sheep", "\"GPL-3.0\""), 1);
    assert_eq!(found("crates/sheep", "null"), 1);
    assert_eq!(found("crates/sheep", "\"MIT\""), 0);
}

#[test]
fn what_only_tests_use_may_have_one_licence_more() {
    assert_eq!(found("crates/sheep", "\"BSL-1.0\""), 1);
    assert_eq!(found("crates/sim", "\"BSL-1.0\""), 0);
}

#[test]
fn the_list_of_cargo_deny_is_the_same() {
    let text = include_str!("../../../../deny.toml");
    let (_, licences) = text.split_once("[licenses]").unwrap();
    let (_, list) = licences.split_once("allow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let names: Vec<&str> = list
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .filter(|n| !n.is_empty())
        .collect();
    assert_eq!(names, ALLOWED);
}
