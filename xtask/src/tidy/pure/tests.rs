use super::*;

fn found(path: &str, text: &str) -> usize {
    let mut findings = Findings::default();
    check(&Source::new(path, text), &mut findings);
    findings.lines.len()
}

#[test]
fn the_engine_has_no_clock_file_socket_thread_or_hash_order() {
    for text in [
        "use std::fs;",
        "use std::fs::File;",
        "let x = std::fs::read(p);",
        "use std::net::TcpStream;",
        "std::thread::spawn(f);",
        "use std::time::Instant;",
        "fn f(now: SystemTime) {}",
        "use std::collections::HashMap;",
        "let x: std::collections::HashSet<u8>;",
        "use tokio::sync::mpsc;",
        "std::env::var(x)",
    ] {
        assert_eq!(found("crates/engine/src/a.rs", text), 1, "{text}");
        assert_eq!(found("crates/proto/src/a.rs", text), 1, "{text}");
    }
}

#[test]
fn grouped_imports_are_seen_through() {
    let text = "use std::{\n    fmt,\n    io::{self, Read},\n    fs::{self, File},\n    net,\n};\n";
    assert_eq!(found("crates/engine/src/a.rs", text), 3, "fs twice, net once");
    assert_eq!(found("crates/engine/src/a.rs", "use std::{fmt, thread};\nfn a() {}"), 1);
    assert_eq!(
        expand("", "a::{b,c::{d,e},f}"),
        ["a::b", "a::c::d", "a::c::e", "a::f"].map(str::to_owned)
    );
}

#[test]
fn pure_code_comments_tests_and_other_crates_pass() {
    let engine = "crates/engine/src/a.rs";
    assert_eq!(found(engine, "use std::collections::BTreeMap;\nuse std::time::Duration;"), 0);
    assert_eq!(found(engine, "use core::net::SocketAddr;"), 0);
    assert_eq!(found(engine, "// HashMap and std::fs\nlet x = \"std::net\";"), 0);
    assert_eq!(found(engine, "let InstantReply = my::std_fs;"), 0);
    assert_eq!(found(engine, "#[cfg(test)]\nmod t {\n    use std::fs;\n}"), 0);
    assert_eq!(found("crates/engine/src/a/tests.rs", "use std::fs;"), 0);
    assert_eq!(found("crates/store/src/a.rs", "use std::fs;"), 0);
}
