use super::*;
use clap::CommandFactory;

fn check(arguments: &[&str]) -> Result<Config> {
    let arguments = ["sheep"].iter().chain(arguments);
    Config::check(Options::try_parse_from(arguments).map_err(anyhow::Error::from)?)
}

#[test]
fn the_options_fit_together() {
    Options::command().debug_assert();
    let config = check(&["-c", "local:/l", "-p", "7010", "-z", "3", "/d"]).unwrap();
    assert_eq!((config.log_directory, config.zone), ("/l".into(), Some(3)));
    assert_eq!(config.legacy.to_string(), "127.0.0.1:7010");
}

#[test]
fn disks_follow_the_directory() {
    let config = check(&["/d,/e f,/g"]).unwrap();
    assert_eq!((config.directory, config.disks), ("/d".into(), vec!["/e f".into(), "/g".into()]));
    assert!(check(&["/d"]).unwrap().disks.is_empty());
}

#[test]
fn a_wrong_option_says_what_would_be_right() {
    for (arguments, told) in [
        (&["-c", "corosync", "/d"][..], "local:DIR"),
        (&["-p", "7001", "/d"], "port 7001 is given twice"),
        (&["-p", "70000", "/d"], "70000"),
        (&["--zone", "x", "/d"], "--zone"),
        (&["--frob", "/d"], "--frob"),
        (&["--shards", "0", "/d"], "--shards"),
        (&[], "<DIRECTORY[,DISK...]>"),
        (&["/d,,/e"], "a comma stands between"),
        (&["/d,/e,/e"], "/e is given twice"),
    ] {
        let error = check(arguments).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
}

#[test]
fn options_for_developers_are_off_and_not_in_the_help() {
    let config = check(&["/d"]).unwrap();
    assert_eq!((config.record, config.engine), (None, Engine::Probe));
    let config = check(&["--record", "/r", "--disk-engine", "threads", "/d"]).unwrap();
    assert_eq!((config.record, config.engine), (Some("/r".into()), Engine::Threads));
    let help = Options::command().render_long_help().to_string();
    assert!(help.contains("--loglevel"), "{help}");
    assert!(!help.contains("--record") && !help.contains("--disk-engine"), "{help}");
}
