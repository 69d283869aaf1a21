use super::*;

fn found(text: &str) -> usize {
    let machine = Machine::new("/srv/build/tree", Some("/data/somebody"));
    let mut findings = Findings::default();
    machine.check("a.md", text, &mut findings);
    findings.lines.len()
}

#[test]
fn paths_of_homes_and_of_this_checkout_are_refused() {
    let home = ["", "home", "x", "y"].join("/");
    for text in [&home, "see /srv/build/tree/target", "`/data/somebody/notes`"] {
        assert_eq!(found(text), 1, "{text}");
    }
}

#[test]
fn other_paths_pass() {
    for text in ["/var/lib/sheepdog", "docs/home/page", "/srv/build/treehouse", "$HOME/.cache"] {
        assert_eq!(found(text), 0, "{text}");
    }
}
