use super::*;

#[test]
fn a_socket_goes_to_the_face_of_its_address() {
    let bind = |address: &str| TcpListener::bind(address).unwrap();
    let (own, all) = (bind("127.0.0.1:0"), bind("0.0.0.0:0"));
    let (own_at, all_at) = (own.local_addr().unwrap(), all.local_addr().unwrap());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sock");
    let unix = UnixListener::bind(&path).unwrap();
    let mut given = Inherited { tcp: vec![own, all], unix: vec![unix] };
    let at = |host: &str, port: u16| SocketAddr::new(host.parse().unwrap(), port);
    assert!(given.tcp(at("127.0.0.2", own_at.port())).is_none(), "another host");
    assert!(given.tcp(at("127.0.0.1", 1)).is_none(), "another port");
    assert_eq!(given.tcp(own_at).unwrap().local_addr().unwrap(), own_at);
    assert!(given.tcp(own_at).is_none(), "once");
    assert!(given.tcp(at("127.0.0.9", all_at.port())).is_some());
    assert!(given.unix(Path::new("/nowhere")).is_none());
    assert!(given.unix(&path).is_some() && given.unix(&path).is_none());
}
