//! The command that a newcomer types first.
//!
//! Way: it is told its ports, from a row of its own: left to itself it takes free ones, and those
//!      of a sheep that another test has killed are free until that test starts it again.

use std::time::Duration;

use anyhow::{Result, ensure};
use sheepdog_e2e::port::PortRow;
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;

/// Ports of one playground.
const PORTS: u16 = 12;
const LIMIT: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_playground_checks_itself_and_finds_sabotage() -> Result<()> {
    let dog = || -> Result<Tool> { Ok(Tool::new(setting::program("dog")?).limit(LIMIT)) };
    let row = PortRow::claim()?;
    let (first, second) = (row.port(0).to_string(), row.port(PORTS).to_string());
    let table = dog()?.args(["playground", "--check", "--port", &first]).succeed().await?;
    for face in ["sheepdog", "nbd unix", "nbd tcp", "admin"] {
        ensure!(table.to_lowercase().contains(face), "{face} is missing:\n{table}");
    }
    let spoiled = dog()?.args(["playground", "--check", "--sabotage", "--port", &second]);
    let spoiled = spoiled.run().await?;
    ensure!(spoiled.status.code() == Some(1), "{spoiled}");
    // It must have found the damage, not failed to do any.
    let said = spoiled.to_string();
    ensure!(said.contains("sabotage: one byte of block"), "{said}");
    ensure!(said.contains("verification failed") && said.contains("cannot be read"), "{said}");
    Ok(())
}
