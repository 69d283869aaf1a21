use super::*;

fn found(path: &str, text: &str) -> usize {
    let mut findings = Findings::default();
    check(&Source::new(path, text), &mut findings);
    findings.lines.len()
}

#[test]
fn marks_of_unfinished_work_are_refused_everywhere() {
    for text in [
        "fn a() { todo!() }",
        "fn a() { unimplemented!(\"later\") }",
        "fn a() { std::dbg!(x); }",
        "#[test]\n#[ignore]\nfn a() {}",
        "#[ignore = \"slow\"]",
        "// TODO: this",
        "/// FIXME",
        "/* XXX */",
    ] {
        assert_eq!(found("crates/dog/src/a.rs", text), 1, "{text}");
        assert_eq!(found("crates/dog/src/a/tests.rs", text), 1, "{text}");
    }
}

#[test]
fn the_same_letters_elsewhere_pass() {
    for text in ["let x = \"TODO\";", "// todo! is refused", "my_dbg!(x)", "// XXXL", "TODO_LIST"] {
        assert_eq!(found("crates/dog/src/a.rs", text), 0, "{text}");
    }
}

#[test]
fn stopping_calls_are_refused_where_foreign_bytes_arrive() {
    for folder in STRICT {
        let path = format!("crates/{folder}/src/a.rs");
        assert_eq!(found(&path, "let x = y.unwrap();"), 1, "{path}");
        assert_eq!(found(&path, "let x = y\n    .expect(\"y\");"), 1, "{path}");
        assert_eq!(found(&path, "let x = y.unwrap(); // allow:"), 1, "{path}");
    }
}

#[test]
fn stopping_calls_pass_with_a_reason_in_tests_and_in_other_crates() {
    let store = "crates/store/src/a.rs";
    assert_eq!(found(store, "let x = y.unwrap(); // allow: y was checked above"), 0);
    assert_eq!(found(store, "let x = y.unwrap_or(3).unwrap_or_default();"), 0);
    assert_eq!(found(store, "#[cfg(test)]\nmod t {\n    fn f() { y.unwrap(); }\n}"), 0);
    assert_eq!(found("crates/store/tests/it/main.rs", "y.unwrap();"), 0);
    assert_eq!(found("crates/dog/src/a.rs", "y.unwrap();"), 0);
}
