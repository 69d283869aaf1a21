use super::*;

#[test]
fn a_workspace_is_found_around_the_target_folder_or_where_cargo_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("clone");
    std::fs::create_dir_all(root.join("crates/sheep")).unwrap();
    std::fs::write(root.join("crates/sheep/Cargo.toml"), "").unwrap();
    let dog = root.join("crates/dog");
    let elsewhere = folder.path().join("cache");
    let table = [
        (root.join("target/release"), None, true),
        (root.join("target/debug"), None, true),
        (elsewhere.join("release"), Some(dog.as_path()), true),
        (elsewhere.join("release"), None, false),
        (root.join("target/deps"), Some(dog.as_path()), false),
        (PathBuf::from("/usr/bin"), None, false),
        (PathBuf::from("/"), None, false),
    ];
    for (target, told, found) in table {
        let expected = found.then(|| root.clone());
        assert_eq!(workspace(&target, told), expected, "{}", target.display());
    }
}
