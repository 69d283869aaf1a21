use super::*;

#[test]
fn a_row_with_a_taken_port_is_not_chosen() {
    let base = choose(None, false).unwrap();
    assert!((FIRST..=LAST - COUNT + 1).contains(&base), "P1");
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 5)).unwrap();
    let other = choose(None, false).unwrap();
    assert_ne!(base, other);
    let refused = choose(Some(base), false).unwrap_err();
    assert!(refused.message.contains(&format!("port {}", base + 5)), "{}", refused.message);
}

#[test]
fn every_face_of_every_sheep_has_a_port_of_its_own() {
    let mut all = Vec::new();
    for index in 0..SHEEP_COUNT {
        let ports = Ports::of(7000, index);
        assert_eq!(ports.admin, ports.legacy + 2, "P2");
        all.extend([ports.legacy, ports.peer, ports.admin, ports.nbd]);
    }
    all.sort_unstable();
    assert_eq!(all, (7000..7000 + COUNT).collect::<Vec<_>>());
}
