use super::*;

#[test]
fn an_endpoint_reads_back_as_it_is_written() {
    for text in ["127.0.0.1:7002", "[::1]:7002", "localhost:1", "unix:/run/sheep/admin.sock"] {
        assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
    }
    assert_eq!(Endpoint::loopback(9).to_string(), "127.0.0.1:9");
    assert_eq!(Endpoint::unix(Path::new("/a b")).to_string(), "unix:/a b");
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for bad in ["", "unix:", "localhost", ":7002", "::1:7002", "h:0", "h:65536", "h:x", "[]:7"] {
        assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
    }
}
