use super::*;
use crate::local::fixture::scratch;

#[test]
fn a_file_that_was_removed_or_replaced_has_lost_its_name() {
    let (_keep, directory) = scratch();
    let path = directory.lock_path();
    let first = private_file(&path).unwrap();
    assert!(has_name(&first, &path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(!has_name(&first, &path).unwrap()); // F2
    let second = private_file(&path).unwrap();
    assert!(!has_name(&first, &path).unwrap());
    assert!(has_name(&second, &path).unwrap());
}

#[test]
fn what_a_member_makes_is_closed_to_others() {
    let (_keep, directory) = scratch();
    drop(directory.open_log().unwrap());
    drop(ServerLock::try_take(&directory).unwrap());
    let paths = [directory.log_path(), directory.lock_path(), directory.session_directory()];
    for path in paths.iter().chain(directory.log_path().parent().map(Path::to_owned).iter()) {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display()); // F1
    }
}

#[test]
fn a_directory_that_members_fill_at_the_same_time_is_not_refused() {
    let keep = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = keep.path().join(round.to_string());
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let open = || Directory::open(&path).map(drop);
        std::thread::scope(|scope| {
            let others = [scope.spawn(open), scope.spawn(open)];
            open().unwrap();
            for other in others {
                other.join().unwrap().unwrap();
            }
        });
    }
}
