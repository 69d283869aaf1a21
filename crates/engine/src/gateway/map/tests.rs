use super::*;

fn map() -> VdiMap {
    VdiMap::new(Vid::new(0x6a_5e16).unwrap())
}

#[test]
fn changes_during_a_write_go_into_the_next_one() {
    let mut map = map();
    map.change(3, true, Some(1));
    let (page, bytes) = map.start_write().unwrap();
    assert_eq!((page, &bytes[12..16]), (0, &[0x16, 0x5e, 0x6a, 0][..]));
    map.change(4, true, Some(2));
    map.wait(3, 5);
    assert!(map.start_write().is_none(), "one write per page at a time");
    assert!(map.has(3) && !map.is_durable(3) && !map.is_durable(4));
    assert_eq!(map.finish_write(0), [1, 5]);
    assert!(map.is_durable(3) && !map.is_durable(4)); // P1
    let (_, bytes) = map.start_write().unwrap();
    assert_eq!(&bytes[16..20], [0x16, 0x5e, 0x6a, 0]);
    assert_eq!(map.finish_write(0), [2]);
    assert!(map.is_quiet() && map.count() == 2);
}

#[test]
fn a_loaded_page_shows_the_same_bytes() {
    let mut first = map();
    for index in [1024, 1500, 2047] {
        first.change(index, true, None);
    }
    let (page, bytes) = first.start_write().unwrap();
    let mut second = map();
    second.load(page, &bytes);
    assert!(second.is_durable(1500) && !second.has(1501));
    assert_eq!(&*second.bytes(4096, 4096), &*bytes);
    assert_eq!(&*second.bytes(6001, 2), [0x5e, 0x6a]);
}

#[test]
fn a_cleared_entry_is_gone() {
    let mut map = map();
    map.change(7, true, None);
    map.start_write().unwrap();
    map.finish_write(0);
    map.change(7, false, Some(9));
    assert!(!map.has(7));
    let (_, bytes) = map.start_write().unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(map.finish_write(0), [9]);
}
