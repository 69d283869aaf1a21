//! A sheep that must not start says why, and ends with an error.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Result, ensure};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;

const LIMIT: Duration = Duration::from_secs(30);

/// Runs `sheep` with the given words; it must fail and say all of `wanted`.
async fn refused(words: &[&str], wanted: &[&str]) -> Result<()> {
    let said = Tool::new(setting::program("sheep")?).args(words).limit(LIMIT).fail().await?;
    for text in wanted {
        ensure!(said.contains(text), "sheep {words:?} does not say {text:?}: {said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

/// Ports of which none is taken.
fn ports(herd: &Herd) -> [String; 4] {
    [0, 1, 2, 3].map(|index| herd.port(index).to_string())
}

#[tokio::test]
async fn a_second_sheep_on_the_same_directory_is_refused() -> Result<()> {
    let mut herd = Herd::of(1).format().await?;
    let directory = herd.sheep(0).directory().display().to_string();
    let log = format!("local:{}", herd.place().join("log").display());
    let [a, b, c, d] = ports(&herd);
    let words =
        ["-c", &log, "-p", &a, "--peer-port", &b, "--admin-port", &c, "--nbd-port", &d, &directory];
    refused(&words, &["in use by another sheep", "process"]).await?;
    // The first one has not noticed.
    herd.create("disk", 1 << 20).await?;
    herd.kill(0)?;
    herd.start(0).await?;
    herd.create("other", 1 << 20).await?;
    herd.end().await
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() -> Result<()> {
    let herd = Herd::of(1).start().await?;
    let directory = herd.place().join("other").display().to_string();
    let log = format!("local:{}", herd.place().join("log").display());
    let options = ["-p", "--peer-port", "--admin-port", "--nbd-port"];
    for (index, option) in options.into_iter().enumerate() {
        let ports = ports(&herd);
        let taken = TcpListener::bind(("127.0.0.1", ports[index].parse()?))?;
        let mut words = vec!["-c", &log];
        for (option, port) in options.iter().zip(&ports) {
            words.extend([option, port.as_str()]);
        }
        words.push(&directory);
        let option = if option == "-p" { "--port" } else { option };
        refused(&words, &[&format!("127.0.0.1:{}", ports[index]), option]).await?;
        drop(taken);
    }
    let [a, ..] = ports(&herd);
    let twice = ["-c", &log, "-p", &a, "--nbd-port", &a, &directory];
    refused(&twice, &[&a, "twice"]).await?;
    herd.end().await
}

#[tokio::test]
async fn a_sheep_of_another_cluster_is_refused() -> Result<()> {
    let mut herd = Herd::of(1).format().await?;
    let other = Herd::of(1).format().await?;
    herd.kill(0)?;
    let directory = herd.sheep(0).directory().display().to_string();
    let log = format!("local:{}", other.place().join("log").display());
    let [a, b, c, d] = ports(&herd);
    let ports = ["-p", &a, "--peer-port", &b, "--admin-port", &c, "--nbd-port", &d];
    let words = [&["-c", &log], &ports[..], &[&directory]].concat();
    refused(&words, &["wrong cluster"]).await?;
    // So is a log that knows no cluster at all.
    let empty = format!("local:{}", herd.place().join("empty").display());
    let words = [&["-c", &empty], &ports[..], &[&directory]].concat();
    refused(&words, &["belongs to cluster", "-c"]).await?;
    let nodes = other.admin(0).nodes().await?;
    ensure!(nodes.len() == 1, "the other cluster has heard of it: {nodes:?}");
    herd.start(0).await?;
    herd.end().await?;
    other.end().await
}

#[tokio::test]
async fn wrong_words_are_answered_with_right_ones() -> Result<()> {
    let herd = Herd::of(1).arguments(&["--shards", "2"]).format().await?;
    let place = herd.place().join("other").display().to_string();
    refused(&["--no-such-option", &place], &["--no-such-option"]).await?;
    refused(&[], &["DIRECTORY"]).await?;
    refused(&["-c", "carrier-pigeon:coop", &place], &["carrier-pigeon", "local:DIR"]).await?;
    refused(&["-c", "local:", &place], &["local:DIR"]).await?;
    refused(&["-p", "70000", &place], &["70000"]).await?;
    refused(&["--shards", "0", &place], &["--shards"]).await?;
    refused(&["--bindaddr", "nowhere", &place], &["--bindaddr"]).await?;
    ensure!(!herd.place().join("other").exists(), "a refused sheep has made its directory");
    herd.end().await
}

#[tokio::test]
async fn the_number_of_shards_cannot_change() -> Result<()> {
    let mut herd = Herd::of(1).arguments(&["--shards", "2"]).format().await?;
    herd.kill(0)?;
    let mut command = herd.sheep(0).command()?;
    command.args(["--shards", "3"]);
    // The last word wins, or two of them are refused: the number is 3 in no case.
    let said = Tool::from(command).limit(LIMIT).fail().await?;
    ensure!(said.contains("--shards"), "{said}");
    herd.start(0).await?;
    herd.end().await
}
