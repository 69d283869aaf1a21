use super::*;

#[test]
fn the_driver_must_be_among_the_formats_by_its_whole_name() {
    assert!(lists_driver("usage\n\nSupported formats: raw sheepdog vdi\n"));
    assert!(!lists_driver("usage\n\nSupported formats: raw sheepdogs vdi\n"));
    assert!(!lists_driver("sheepdog\nSupported formats: raw vdi\n"));
    assert!(!lists_driver("sheepdog"));
}

#[test]
fn the_stamp_changes_with_the_tarball_and_the_options() {
    let stamp = stamp();
    assert!(stamp.contains(TARBALL_SHA256));
    assert!(stamp.contains("--enable-sheepdog") && stamp.contains("--disable-docs"));
}

#[test]
fn a_folder_without_the_tools_is_refused() {
    assert!(check(Path::new("/nonexistent")).is_err());
}

#[test]
fn another_program_of_that_name_is_refused() {
    let folder = env::temp_dir().join(format!("sheepdog-xtask-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for program in PROGRAMS {
        // Not a copy: one that is still open for writing cannot be started.
        std::os::unix::fs::symlink("/bin/echo", folder.join(program)).unwrap();
    }
    let refused = check(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert!(format!("{:#}", refused.unwrap_err()).contains("is not of QEMU 5.2"));
}
