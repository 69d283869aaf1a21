use super::runner::End;
use super::summary::{Count, render};
use super::*;

fn graph(folders: &[&str]) -> Graph {
    let packages: Vec<String> = folders
        .iter()
        .map(|folder| {
            format!(
                r#"{{"id": "{folder}", "name": "sheepdog-{folder}", "source": null,
                    "manifest_path": "/tree/crates/{folder}/Cargo.toml", "dependencies": []}}"#
            )
        })
        .collect();
    Graph::parse(&format!(r#"{{"packages": [{}]}}"#, packages.join(",")), "/tree").unwrap()
}

fn names(groups: &[Group]) -> Vec<&str> {
    groups.iter().map(|group| group.name).collect()
}

#[test]
fn groups_of_crates_that_do_not_exist_are_not_in_the_list() {
    let few = list::groups(&graph(&["proto"]));
    assert_eq!(names(&few), ["setup", "fmt", "clippy", "tidy", "docs", "test"]);
    let all = list::groups(&graph(&["proto", "sheep", "dog", "e2e"]));
    assert_eq!(names(&all)[6..], ["build", "e2e"]);
}

#[test]
fn unit_tests_leave_the_end_to_end_tests_to_their_own_group() {
    let all = list::groups(&graph(&["sheep", "dog", "e2e"]));
    let words = |name: &str| match &all.iter().find(|group| group.name == name).unwrap().work {
        list::Work::Cargo(words, _) => words.join(" "),
        other => panic!("{other:?}"),
    };
    assert!(words("test").ends_with("--exclude sheepdog-e2e"));
    assert!(words("build").ends_with("--package sheepdog-sheep --package sheepdog-dog"));
    assert!(words("e2e").contains("--package sheepdog-e2e"));
    assert!(words("e2e").ends_with("-- --test-threads=2"));
}

#[test]
fn a_chosen_group_brings_what_it_needs_in_order() {
    let all = || list::groups(&graph(&["sheep", "e2e"]));
    assert_eq!(names(&choose(all(), &["e2e".to_owned()]).unwrap()), ["setup", "build", "e2e"]);
    let two = ["tidy".to_owned(), "fmt".to_owned()];
    assert_eq!(names(&choose(all(), &two).unwrap()), ["fmt", "tidy"]);
    assert!(choose(all(), &["speed".to_owned()]).is_err());
}

#[test]
fn options_are_read_and_others_refused() {
    let options = Options::parse(&["--only", "fmt", "--list", "--only", "e2e"]).unwrap();
    assert_eq!(options, Options { only: vec!["fmt".into(), "e2e".into()], list: true });
    assert!(Options::parse(&["--only"]).is_err());
    assert!(Options::parse(&["--onyl", "fmt"]).is_err());
}

#[test]
fn result_lines_are_summed_and_other_lines_are_not() {
    let mut count = Count::default();
    for line in [
        "running 9 tests",
        "test result: ok. 7 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out; finished",
        "test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished",
        "99 passed; 99 failed",
    ] {
        count.read(line);
    }
    assert_eq!(count, Count { passed: 10, failed: 4, skipped: 2 });
}

fn outcome(name: &'static str, end: End, passed: u64, failed: u64, skipped: u64) -> Outcome {
    Outcome { name, end, milliseconds: 61_250, count: Count { passed, failed, skipped } }
}

#[test]
fn the_last_line_is_the_sum_and_names_skipped_tests_only_if_there_are_any() {
    let mut outcomes = vec![
        outcome("test", End::Failed, 10, 1, 0),
        outcome("e2e", End::Succeeded, 5, 0, 0),
        Outcome::not_run("more", "test"),
    ];
    let text = render(&outcomes);
    assert_eq!(text.lines().last(), Some("15 passed, 1 failed"));
    assert!(text.contains("61.2") && text.contains("NOT RUN: test did not succeed"), "{text}");
    outcomes.push(outcome("slow", End::Succeeded, 0, 0, 3));
    assert_eq!(render(&outcomes).lines().last(), Some("15 passed, 1 failed, 3 skipped"));
}

#[test]
fn only_a_group_that_ran_and_succeeded_counts_as_success() {
    assert!(outcome("a", End::Succeeded, 0, 0, 0).succeeded());
    assert!(!outcome("a", End::Failed, 0, 0, 0).succeeded());
    assert!(!Outcome::not_run("a", "b").succeeded());
}
