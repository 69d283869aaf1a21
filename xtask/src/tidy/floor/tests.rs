use super::*;

fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Findings::default();
    check_source(&Source::new(path, text), &mut findings);
    findings.lines
}

fn manifest(folder: &str, to: &str) -> Vec<String> {
    let text = format!(
        r#"{{"packages": [{{"id": "a", "name": "sheepdog-a", "source": null,
            "manifest_path": "/tree/{folder}/Cargo.toml",
            "dependencies": [{{"name": "b", "path": "/tree/{to}", "kind": "dev"}},
                             {{"name": "tokio", "kind": null}}]}}]}}"#
    );
    let mut findings = Findings::default();
    check_manifests(&Graph::parse(&text, "/tree").unwrap(), &mut findings);
    findings.lines
}

#[test]
fn code_that_names_a_crate_above_or_beside_it_is_refused() {
    let refused = check("crates/store/src/a.rs", "//! A.\n\nuse sheepdog_engine::View;\n");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("crates/store/src/a.rs:3: crates/store may not use"));
    assert_eq!(check("crates/proto/src/a.rs", "let x = sheepdog_store::new();").len(), 1);
    assert_eq!(check("crates/dog/src/a.rs", "use sheepdog_store as s;").len(), 1);
    assert_eq!(check("crates/sim/src/a.rs", "use {sheepdog_sheep, sheepdog_dog};").len(), 2);
}

#[test]
fn code_that_names_a_crate_below_it_or_itself_is_accepted() {
    for (path, text) in [
        ("crates/sheep/src/a.rs", "use sheepdog_store::Store;"),
        ("crates/client/src/a.rs", "use sheepdog_engine::vdi;"),
        ("crates/store/tests/it/main.rs", "use sheepdog_store::Store;"),
        ("crates/store/src/a.rs", "// sheepdog_engine would be wrong here\n\"sheepdog_engine\""),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_manifest_with_an_arrow_outside_the_table_is_refused() {
    assert_eq!(manifest("crates/store", "crates/engine").len(), 1);
    assert_eq!(manifest("crates/engine", "crates/sim").len(), 1);
    assert_eq!(manifest("xtask", "crates/proto").len(), 1);
    assert_eq!(manifest("crates/engine", "crates/proto"), Vec::<String>::new());
}

#[test]
fn a_crate_without_a_floor_is_refused() {
    let refused = manifest("crates/helpers", "crates/proto");
    assert!(refused[0].contains("crates/helpers has no floor"), "{refused:?}");
}

#[test]
fn every_floor_stands_on_lower_ones_only() {
    for (index, (folder, to)) in FLOORS.iter().enumerate() {
        for name in *to {
            let below = FLOORS.iter().position(|(folder, _)| folder == name).unwrap();
            assert!(below < index, "{folder} -> {name}");
        }
    }
}
