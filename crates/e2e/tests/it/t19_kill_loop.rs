//! SIGKILL under load, again and again: `cargo xtask soak-kill` in small.

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::kills::{Field, Figures, Form, Scale};

const SCALE: Scale = Scale { mib: 4, changes_max: 200 };

/// So many rounds in one field. Whatever the rounds choose, the seed is told when one fails.
async fn rounds(form: Form, seed: u64, count: u64) -> Result<()> {
    let mut field = Field::start(form, SCALE, seed).await?;
    let mut sum = Figures::default();
    for round in 0..count {
        let figures = field.round().await;
        sum.add(&figures.with_context(|| format!("{form:?}, seed {seed}, round {round}"))?);
    }
    println!("{form:?}: {sum:?}");
    ensure!(sum.acknowledged > 0 && sum.blocks > 0 && sum.kills > 0, "{sum:?}");
    field.end().await
}

#[tokio::test]
async fn all_sheep_at_once() -> Result<()> {
    rounds(Form::All, 1, 4).await
}

#[tokio::test]
async fn a_sheep_that_is_alone() -> Result<()> {
    rounds(Form::Alone, 2, 6).await
}

#[tokio::test]
async fn one_of_three_and_the_others_agree() -> Result<()> {
    rounds(Form::OneOfThree, 3, 1).await
}
