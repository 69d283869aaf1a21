//! Output of every command in its three forms, from fixed answers, byte for byte.
//!
//! `DOG_GOLDEN=write cargo test -p sheepdog-dog golden` writes the files anew.

use std::path::Path;
use std::process::Output;

use crate::fake::{Fake, run};

/// File, command line, exit code.
const TABLE: &[(&str, &str, i32)] = &[
    ("cluster-info", "cluster info", 0),
    ("cluster-info.raw", "cluster info -r", 0),
    ("cluster-info.json", "cluster info --json", 0),
    ("cluster-format", "cluster format", 0),
    ("cluster-format.json", "cluster format --json", 0),
    ("cluster-shutdown", "cluster shutdown", 0),
    ("cluster-shutdown.json", "cluster shutdown --json", 0),
    ("node-list", "node list", 0),
    ("node-list.raw", "node list -r", 0),
    ("node-list.json", "node list --json", 0),
    ("node-info", "node info", 0),
    ("node-info.raw", "node info -r", 0),
    ("node-info.json", "node info --json", 0),
    ("node-recovery", "node recovery", 0),
    ("node-recovery.raw", "node recovery -r", 0),
    ("node-recovery.json", "node recovery --json", 0),
    ("node-md-info", "node md info", 0),
    ("node-md-info.raw", "node md info -r", 0),
    ("node-md-info.json", "node md info --json", 0),
    ("node-md-plug", "node md plug /srv/disk6", 0),
    ("node-md-unplug", "node md unplug /srv/disk1", 0),
    ("node-md-unplug.json", "node md unplug /srv/disk1 --json", 0),
    ("vdi-list", "vdi list", 0),
    ("vdi-list.raw", "vdi list -r", 0),
    ("vdi-list.json", "vdi list --json", 0),
    ("vdi-list-one.raw", "vdi list disk -r", 0),
    ("vdi-list-none", "vdi list nosuch", 1),
    ("vdi-list-none.json", "vdi list nosuch --json", 1),
    ("vdi-create", "vdi create disk 1G -v", 0),
    ("vdi-create.raw", "vdi create disk 1G -r -v", 0),
    ("vdi-create.json", "vdi create disk 1G --json", 0),
    ("vdi-delete.json", "vdi delete disk --json", 0),
    ("vdi-delete-none", "vdi delete nosuch", 1),
    ("vdi-delete-none.json", "vdi delete nosuch --json", 1),
    ("vdi-resize.json", "vdi resize disk 1G --json", 0),
    ("vdi-check", "vdi check disk", 0),
    ("vdi-check.raw", "vdi check disk -r", 0),
    ("vdi-check.json", "vdi check disk --json", 0),
    ("vdi-check-none", "vdi check nosuch", 1),
    ("vdi-lock-list", "vdi lock list", 0),
    ("vdi-lock-list.raw", "vdi lock list -r", 0),
    ("vdi-lock-list.json", "vdi lock list --json", 0),
    ("vdi-lock-unlock-no", "vdi lock unlock disk", 1),
    ("vdi-lock-unlock.json", "vdi lock unlock disk -y --json", 0),
    ("vdi-lock-unlock-none", "vdi lock unlock nosuch", 1),
    ("vdi-object-location", "vdi object location disk -i 1", 0),
    ("vdi-object-location.raw", "vdi object location disk -i 1 -r", 0),
    ("vdi-object-location.json", "vdi object location disk -i 1 --json", 0),
    ("vdi-object-location-none", "vdi object location disk -i 9", 1),
];

fn text(output: &Output, port: u16) -> String {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let code = output.status.code().unwrap();
    format!("{stdout}-- stderr\n{stderr}-- exit {code}\n").replace(&port.to_string(), "PORT")
}

fn check(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
    if std::env::var_os("DOG_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(seen, expected, "{}", path.display());
}

#[test]
fn every_answer_looks_as_recorded() {
    let fake = Fake::herd();
    for (name, line, code) in TABLE {
        let output = fake.dog(line);
        assert_eq!(output.status.code(), Some(*code), "{line}: {output:?}");
        check(name, &text(&output, fake.port));
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = [
        "",
        "cluster",
        "cluster format",
        "cluster info",
        "cluster shutdown",
        "node",
        "node list",
        "node info",
        "node recovery",
        "node md",
        "node md info",
        "node md plug",
        "node md unplug",
        "vdi",
        "vdi create",
        "vdi delete",
        "vdi list",
        "vdi resize",
        "vdi read",
        "vdi write",
        "vdi check",
        "vdi lock",
        "vdi lock list",
        "vdi lock unlock",
        "vdi object",
        "vdi object location",
        "playground",
    ];
    let mut all = String::new();
    for command in commands {
        let words = command.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        let output = run(words.chain(["--help".to_owned()]), b"");
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        let leaf = !help.contains("\nCommands:\n");
        assert!(!leaf || help.contains("Example:\n  dog "), "{command} has no example:\n{help}");
        all += &format!("==== dog {command}\n{help}");
    }
    check("help", &all);
}
