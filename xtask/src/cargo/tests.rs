use super::*;

const METADATA: &str = r#"{
  "target_directory": "/tree/target",
  "packages": [
    {"id": "a", "name": "sheepdog-a", "version": "0.1.0", "license": "MIT", "source": null,
     "manifest_path": "/tree/crates/a/Cargo.toml",
     "dependencies": [{"name": "sheepdog-b", "path": "/tree/crates/b", "kind": null},
                      {"name": "x", "kind": null}, {"name": "y", "kind": "dev"}]},
    {"id": "b", "name": "sheepdog-b", "version": "0.1.0", "license": "MIT", "source": null,
     "manifest_path": "/tree/crates/b/Cargo.toml", "dependencies": []},
    {"id": "x", "name": "x", "version": "1.0.0", "license": null, "source": "registry",
     "manifest_path": "/elsewhere/x/Cargo.toml", "dependencies": []}
  ],
  "resolve": {"nodes": [
    {"id": "a", "deps": [
      {"pkg": "b", "dep_kinds": [{"kind": null}]},
      {"pkg": "x", "dep_kinds": [{"kind": "build"}]},
      {"pkg": "y", "dep_kinds": [{"kind": "dev"}]}]},
    {"id": "b", "deps": []}, {"id": "x", "deps": [{"pkg": "z", "dep_kinds": [{"kind": null}]}]}
  ]}
}"#;

#[test]
fn members_are_told_from_registry_packages_by_their_folder() {
    let graph = Graph::parse(METADATA, "/tree").unwrap();
    assert_eq!(graph.package_in("crates/a"), Some("sheepdog-a"));
    assert_eq!(graph.packages["x"].folder, None);
    assert_eq!(graph.packages["a"].dependencies[0].folder.as_deref(), Some("crates/b"));
    assert_eq!(graph.packages["a"].dependencies[1].folder, None);
    assert_eq!(graph.target, "/tree/target");
}

#[test]
fn reach_follows_normal_and_build_edges_but_not_dev_edges() {
    let graph = Graph::parse(METADATA, "/tree").unwrap();
    let reached: Vec<String> = graph.reach(&["a".to_owned()]).into_iter().collect();
    assert_eq!(reached, ["a", "b", "x", "z"]);
}
