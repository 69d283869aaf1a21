//! The command that a newcomer types first.

use std::time::Duration;

use anyhow::{Result, ensure};
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;

const LIMIT: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_playground_checks_itself_and_finds_sabotage() -> Result<()> {
    let dog = || -> Result<Tool> { Ok(Tool::new(setting::program("dog")?).limit(LIMIT)) };
    let table = dog()?.args(["playground", "--check"]).succeed().await?;
    for face in ["sheepdog", "nbd unix", "nbd tcp", "admin"] {
        ensure!(table.to_lowercase().contains(face), "{face} is missing:\n{table}");
    }
    let spoiled = dog()?.args(["playground", "--check", "--sabotage"]).run().await?;
    ensure!(spoiled.status.code() == Some(1), "{spoiled}");
    // It must have found the damage, not failed to do any.
    let said = spoiled.to_string();
    ensure!(said.contains("sabotage: one byte of block"), "{said}");
    ensure!(said.contains("verification failed") && said.contains("cannot be read"), "{said}");
    Ok(())
}
