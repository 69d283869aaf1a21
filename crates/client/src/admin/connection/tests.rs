use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::admin::types::ErrorCode;
use crate::admin::{AdminClient, Data};

/// Serves one scripted connection after the other: for each request an answer, then closes.
/// Ends with the requests' first lines.
fn serve(script: Vec<Vec<&'static [u8]>>) -> (Endpoint, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let mut lines = Vec::new();
        for answers in script {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                lines.push(first_line(&mut stream));
                stream.write_all(answer).unwrap();
            }
        }
        lines
    });
    (Endpoint::loopback(port), thread)
}

fn first_line(stream: &mut std::net::TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head.lines().next().unwrap().to_owned()
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const FOUR: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd";

#[test]
fn one_connection_serves_many_requests_and_is_replaced_when_it_closes() {
    let (endpoint, server) = serve(vec![vec![FOUR, EMPTY], vec![FOUR]]);
    let client = AdminClient::new(endpoint, Some(Duration::from_secs(20)));
    run(async {
        let data = client.read("a b/ü", 0, 4).await.unwrap();
        assert_eq!(data, Data::Bytes(Bytes::from_static(b"abcd")));
        assert_eq!(client.read("x", 4, 4).await.unwrap(), Data::Hole);
        client.read("x", 8, 4).await.unwrap();
    });
    let lines = server.join().unwrap();
    assert_eq!(lines[0], "GET /v1/vdis/a%20b%2F%C3%BC/data?offset=0&length=4 HTTP/1.1");
    assert_eq!(lines[2], "GET /v1/vdis/x/data?offset=8&length=4 HTTP/1.1");
}

#[test]
fn a_request_that_changes_something_is_not_sent_twice() {
    for write in [false, true] {
        // The kept connection is cut after it took the second request.
        let (endpoint, server) = serve(vec![vec![EMPTY, b""], vec![EMPTY]]);
        let client = AdminClient::new(endpoint, Some(Duration::from_secs(20)));
        run(async {
            client.release("x").await.unwrap();
            let asked = match write {
                true => client.write("x", 0, Bytes::from_static(b"old")).await,
                false => client.shutdown().await,
            };
            assert!(matches!(asked, Err(AdminError::Broken { .. })), "{asked:?}");
            client.delete("last").await.unwrap();
        });
        let lines = server.join().unwrap();
        assert_eq!(lines.len(), 3, "A1: {lines:?}");
        assert_eq!(lines[2], "DELETE /v1/vdis/last HTTP/1.1");
    }
}

#[test]
fn a_refusal_carries_code_message_hint_and_holder() {
    let answer = b"HTTP/1.1 423 Locked\r\ncontent-length: 166\r\n\r\n\
        {\"code\":\"locked\",\"message\":\"in use\",\"hint\":\"stop the VM\",\"holder\":\
        {\"node\":2,\"admin\":\"127.0.0.1:7022\",\"since_ms\":1,\"generation\":3},\
        \"pad\":\"...........................\"}";
    assert_eq!(answer.len() - answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() - 4, 166);
    let (endpoint, server) = serve(vec![vec![answer]]);
    let error = run(AdminClient::new(endpoint, None).delete("x")).unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.code, ErrorCode::Locked);
    assert_eq!(failure.holder.as_ref().unwrap().admin, "127.0.0.1:7022");
    assert_eq!(failure.hint.as_deref(), Some("stop the VM"));
    server.join().unwrap();
}

#[test]
fn an_error_without_json_is_still_told() {
    let (endpoint, server) =
        serve(vec![vec![b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope"]]);
    let error = run(AdminClient::new(endpoint, None).cluster()).unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::NotFound);
    assert!(error.to_string().contains("nope"), "{error}");
    server.join().unwrap();
}

#[test]
fn strangers_silence_and_nobody_are_told_apart() {
    let (endpoint, server) = serve(vec![vec![b"\0G\0\0 this is no HTTP\r\n\r\n"]]);
    let error = run(AdminClient::new(endpoint, None).cluster()).unwrap_err();
    assert!(matches!(error, AdminError::Foreign { .. }), "{error}");
    server.join().unwrap();

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::loopback(silent.local_addr().unwrap().port());
    let client = AdminClient::new(endpoint.clone(), Some(Duration::from_millis(50)));
    let error = run(client.cluster()).unwrap_err();
    assert!(matches!(error, AdminError::Silent { .. }), "{error}");

    let odd = Endpoint::Tcp { host: "h\u{fc}st\u{1}".to_owned(), port: 1 };
    let error = run(AdminClient::new(odd, None).cluster()).unwrap_err();
    assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");

    drop(silent);
    let error = run(AdminClient::new(endpoint, None).cluster()).unwrap_err();
    assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
}

#[test]
fn answers_that_are_too_long_too_short_or_cut_off_are_errors() {
    let answers: [&'static [u8]; 3] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab",
    ];
    for answer in answers {
        let (endpoint, server) = serve(vec![vec![answer]]);
        let error = run(AdminClient::new(endpoint, None).read("x", 0, 4)).unwrap_err();
        let expected = matches!(error, AdminError::Garbled { .. } | AdminError::Broken { .. });
        assert!(expected, "{error}"); // A2
        server.join().unwrap();
    }
}

#[test]
fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut some = [0; 1024];
        let read = stream.read(&mut some).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").unwrap();
        String::from_utf8(some[..read].to_vec()).unwrap()
    });
    let nodes = run(AdminClient::new(Endpoint::unix(&path), None).nodes()).unwrap();
    assert!(nodes.is_empty());
    assert!(server.join().unwrap().starts_with("GET /v1/nodes HTTP/1.1\r\n"));
}
