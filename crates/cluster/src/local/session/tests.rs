use super::*;
use crate::local::fixture::{check_golden, check_page, scratch};
use proptest::prelude::*;

const SESSION: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

fn will(payload: &[u8]) -> Will {
    Will { session: SESSION, life: 4, payload: Arc::from(payload) }
}

proptest! {
    #[test]
    fn a_will_is_read_back(session: u128, life: u64, payload: Vec<u8>) {
        let will = Will { session, life, payload: Arc::from(payload) };
        prop_assert_eq!(Will::parse(&will.emit()), Ok(will));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        prop_assert!(Will::parse(&bytes).is_err());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_will_is_found() {
    let good = will(b"Gone(3)").emit();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Will::parse(&bad).is_err(), "bit {bit}");
    }
    for length in 0..good.len() {
        assert!(Will::parse(&good[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn the_bytes_of_a_will_do_not_change() {
    check_golden("will", &will(b"Gone(3)").emit());
    check_page("Will header", &LAYOUT, HEADER_BYTES);
}

#[test]
fn a_session_lives_while_it_is_held_also_when_its_will_changes() {
    let (_keep, directory) = scratch();
    let (mut file, previous) = SessionFile::acquire(&directory, SESSION).unwrap();
    assert_eq!(previous, None);
    for life in 0..3 {
        assert!(matches!(probe(&directory, SESSION), Ok(Probe::Live))); // S1
        file.set_will(life, Arc::from(*b"will")).unwrap();
    }
    assert!(matches!(probe(&directory, SESSION), Ok(Probe::Live)));
    assert_eq!(list(&directory).unwrap(), [SESSION]);
}

#[test]
fn a_second_life_is_refused_while_the_first_one_lasts() {
    let (_keep, directory) = scratch();
    let _first = SessionFile::acquire(&directory, SESSION).unwrap();
    let second = SessionFile::acquire(&directory, SESSION);
    assert!(matches!(second, Err(LogError::SessionInUse { session: SESSION })));
}

#[test]
fn a_dead_session_leaves_its_last_will_to_the_server_or_to_its_next_life() {
    let (_keep, directory) = scratch();
    let (mut file, _) = SessionFile::acquire(&directory, SESSION).unwrap();
    file.set_will(1, Arc::from(*b"first")).unwrap();
    file.set_will(1, Arc::from(*b"second")).unwrap();
    drop(file);
    let expected = Some(Will { session: SESSION, life: 1, payload: Arc::from(*b"second") });
    match probe(&directory, SESSION) {
        Ok(Probe::Dead(dead)) => assert_eq!(dead.will, expected),
        other => panic!("{other:?}"),
    }
    let (file, previous) = SessionFile::acquire(&directory, SESSION).unwrap();
    assert_eq!(previous, expected);
    drop(file);
    match probe(&directory, SESSION) {
        Ok(Probe::Dead(dead)) => dead.bury().unwrap(),
        other => panic!("{other:?}"),
    }
    assert!(matches!(probe(&directory, SESSION), Ok(Probe::Missing)));
}

#[test]
fn a_new_life_waits_for_the_burial_of_the_old_one() {
    let (_keep, directory) = scratch();
    let (mut file, _) = SessionFile::acquire(&directory, SESSION).unwrap();
    file.set_will(1, Arc::from(*b"will")).unwrap();
    drop(file);
    let Ok(Probe::Dead(dead)) = probe(&directory, SESSION) else { panic!("not dead") };
    let acquire = {
        let directory = directory.clone();
        std::thread::spawn(move || SessionFile::acquire(&directory, SESSION))
    };
    // Longer than a living holder would be waited for, so that the two cases differ.
    std::thread::sleep(HOLDER_WAIT + Duration::from_millis(300));
    assert!(!acquire.is_finished());
    dead.bury().unwrap();
    let (_file, previous) = acquire.join().unwrap().unwrap();
    assert_eq!(previous, None);
    assert!(matches!(probe(&directory, SESSION), Ok(Probe::Live)));
}

#[test]
fn a_removed_session_is_missing_and_other_names_are_no_sessions() {
    let (_keep, directory) = scratch();
    let (mut file, _) = SessionFile::acquire(&directory, SESSION).unwrap();
    file.set_will(1, Arc::from(*b"will")).unwrap();
    file.remove().unwrap();
    assert!(matches!(probe(&directory, SESSION), Ok(Probe::Missing)));
    for name in ["0123", "00000000000000000000000000000001.new", "0000000000000000000000000000000G"]
    {
        std::fs::write(directory.session_directory().join(name), b"x").unwrap();
    }
    assert_eq!(list(&directory).unwrap(), []);
}

#[test]
fn a_damaged_will_is_refused_not_forgotten() {
    let (_keep, directory) = scratch();
    let mut bytes = will(b"Gone(3)").emit();
    bytes[50] ^= 1;
    std::fs::write(path_of(&directory, SESSION), &bytes).unwrap();
    assert!(matches!(probe(&directory, SESSION), Err(LogError::Corrupt { .. })));
    let life = SessionFile::acquire(&directory, SESSION);
    assert!(matches!(life, Err(LogError::Corrupt { .. })));
    assert_eq!(std::fs::read(path_of(&directory, SESSION)).unwrap(), bytes);
}
