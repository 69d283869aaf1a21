//! Kills: rounds of SIGKILL under load, after each of which every block is looked at.
//!
//! Why: what a test of one crash misses, thousands of them at random moments may find.
//! Way: a [`Field`] is a herd with two disks that lives through many rounds. In each round
//!      writers write tagged blocks through two faces, sheep are killed, their stores are
//!      looked at while they are dead (`crate::copies`), they come back, and every face must
//!      show every acknowledged block, those in doubt old or new, and all faces the same.
//! Holds:
//!   KI1 no client is left when sheep come back, but where there is one copy only: with two of
//!       three sheep up and a client that writes, the third would be left behind;
//!   KI2 all choices follow from the seed; the moment of a kill does not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::copies;
use crate::disk::{Disk, Face};
use crate::herd::Herd;
use crate::ledger::{Ledger, Looked, SharedLedger};
use crate::wait;
use crate::workload::Random;
use crate::writers::{Mix, Writers};

const STALL: Duration = Duration::from_secs(60);
/// Writers of each disk.
const WRITERS: usize = 4;
const SHIFT: u8 = 20;
const MIB: u64 = 1 << 20;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Three sheep, three copies; all at once, as by a power cut.
    All,
    /// A sheep that is alone, with one copy of everything.
    Alone,
    /// One of three; the others go on, so this field has one round.
    OneOfThree,
}

/// How much is done in a round.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Of each disk.
    pub mib: u64,
    /// Acknowledged changes before a kill, at most.
    pub changes_max: u64,
}

/// What rounds brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rounds.
    pub rounds: u64,
    /// Sheep that were killed.
    pub kills: u64,
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Blocks that were compared, in stores and through faces.
    pub blocks: u64,
    /// Blocks in doubt that were old, at the first look through a face.
    pub old: u64,
    /// Those that were new.
    pub new: u64,
}

/// A disk of a field.
#[derive(Debug)]
struct Volume {
    name: String,
    vid: u32,
    ledger: SharedLedger,
}

/// A herd with two disks.
#[derive(Debug)]
pub struct Field {
    form: Form,
    scale: Scale,
    random: Random,
    herd: Herd,
    volumes: Vec<Volume>,
    figures: Figures,
}

impl Figures {
    /// Takes over what other rounds brought.
    pub const fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.acknowledged += other.acknowledged;
        self.blocks += other.blocks;
        self.old += other.old;
        self.new += other.new;
    }

    const fn note_first(&mut self, looked: Looked) {
        self.blocks += looked.blocks;
        self.old += looked.old;
        self.new += looked.new;
    }
}

impl Field {
    /// Starts sheep and makes disks.
    ///
    /// # Errors
    /// If that does not work.
    pub async fn start(form: Form, scale: Scale, seed: u64) -> Result<Self> {
        let herd = Herd::of(if form == Form::Alone { 1 } else { 3 }).format().await?;
        Self::with(herd, form, scale, seed).await
    }

    /// Makes disks in a herd that is fit for the form.
    ///
    /// # Errors
    /// If that does not work.
    pub async fn with(herd: Herd, form: Form, scale: Scale, seed: u64) -> Result<Self> {
        let mut volumes = Vec::new();
        for number in 0..2 {
            let name = format!("disk{number}");
            let bytes = scale.mib * MIB;
            let vid = herd.create(&name, bytes).await?.vid.0.get();
            let mut ledger = Ledger::new(u64::from(vid) | seed << 32, bytes);
            if form == Form::OneOfThree {
                ledger = ledger.keeping_all();
            }
            volumes.push(Volume { name, vid, ledger: SharedLedger::new(ledger) });
        }
        let figures = Figures::default();
        Ok(Self { form, scale, random: Random(seed), herd, volumes, figures })
    }

    /// One round. The figures are of this round alone.
    ///
    /// # Errors
    /// If a block is not what it may be, copies differ, or a sheep does not come back.
    pub async fn round(&mut self) -> Result<Figures> {
        self.figures = Figures { rounds: 1, ..Figures::default() };
        match self.form {
            Form::All => self.kill_all().await?,
            Form::Alone => self.kill_the_only_one().await?,
            Form::OneOfThree => self.kill_one_of_three().await?,
        }
        Ok(self.figures)
    }

    /// Ends the sheep in order.
    ///
    /// # Errors
    /// If one has panicked, or does not end well.
    pub async fn end(self) -> Result<()> {
        self.herd.end().await
    }

    /// Leaves everything where it is, for whoever wants to look at it.
    #[must_use]
    pub fn keep(self) -> std::path::PathBuf {
        self.herd.keep()
    }

    async fn kill_all(&mut self) -> Result<()> {
        let traffic = self.write_a_while().await?;
        self.cut_power().await?;
        self.abandon(traffic).await;
        // In the other rounds it is the sheep that finds what the kill left.
        if self.random.below(2) == 0 {
            self.look_into_stores(&[0, 1, 2], u64::MAX)?;
        }
        if self.random.below(3) == 0 {
            // Once more, while they come back.
            self.spawn_all()?;
            self.pause(200).await;
            self.cut_power().await?;
        }
        self.herd.start_all().await.context("after the kill")?;
        self.look_through_faces(&[0, 1, 2]).await?;
        let cluster = self.herd.admin(0).cluster().await?;
        let is_clean = cluster.classes.iter().all(|class| class.clean == class.total);
        ensure!(is_clean, "copies were left behind: {:?}", cluster.classes);
        self.cut_power().await?;
        self.compare_copies(&[0, 1, 2])?;
        self.herd.start_all().await
    }

    async fn kill_the_only_one(&mut self) -> Result<()> {
        let traffic = self.write_a_while().await?;
        let is_told = self.random.below(2) == 0;
        if is_told {
            // In the middle of its last checkpoint, or of what comes before or after.
            self.herd.sheep_mut(0).signal(Signal::TERM)?;
            self.pause(40).await;
        }
        self.cut_power().await?;
        // A sheep that was told to stop may have refused its clients.
        let goes_on = !is_told && self.random.below(2) == 0;
        let kept = if goes_on { Some(traffic) } else { self.abandon(traffic).await };
        if self.random.below(2) == 0 {
            self.look_into_stores(&[0], u64::MAX)?;
        }
        for _ in 0..self.random.below(3) {
            self.spawn_all()?;
            self.pause(100).await;
            self.cut_power().await?;
        }
        self.herd.start_all().await.context("after the kill")?;
        if let Some(traffic) = kept {
            self.go_on_by_itself(traffic).await?;
        }
        self.look_through_faces(&[0]).await
    }

    /// Clients of the first Sheepdog's protocol connect again and send everything again.
    async fn go_on_by_itself(&mut self, mut traffic: Vec<Traffic>) -> Result<()> {
        for traffic in traffic.extract_if(.., |traffic| !traffic.reconnects) {
            self.figures.acknowledged += traffic.writers.abandon().await;
        }
        for Traffic { mut writers, disk, .. } in traffic {
            writers.more(5, STALL).await.context("a client that connects again")?;
            self.figures.acknowledged += writers.stop().await?;
            Arc::into_inner(disk).context("somebody still has the disk")?.close().await?;
        }
        Ok(())
    }

    async fn kill_one_of_three(&mut self) -> Result<()> {
        let traffic = self.write_a_while().await?;
        let victim = self.random.below(3);
        let time = sheepdog_store::disk::recorder::now();
        self.herd.kill(victim)?;
        self.figures.kills += 1;
        let others: Vec<usize> = (0..3).filter(|index| *index != victim).collect();
        for Traffic { mut writers, disk, sheep, .. } in traffic {
            if sheep == victim {
                self.figures.acknowledged += writers.abandon().await;
                continue;
            }
            writers.more(20, STALL).await.context("with one sheep less")?;
            self.figures.acknowledged += writers.stop().await?;
            Arc::into_inner(disk).context("somebody still has the disk")?.close().await?;
        }
        self.look_into_stores(&[victim], time)?;
        self.look_through_faces(&others).await?;
        self.cut_power().await?;
        self.compare_copies(&others)
    }

    /// Writers on both disks, each through a sheep and a face of its own.
    async fn write_a_while(&mut self) -> Result<Vec<Traffic>> {
        let mut all = Vec::new();
        for (number, faces) in
            [[Face::Nbd, Face::NbdUnix], [Face::Legacy, Face::LegacyUnix]].into_iter().enumerate()
        {
            let sheep = self.random.below(self.herd.count());
            let face = faces[self.random.below(2)];
            let Volume { name, ledger, .. } = &self.volumes[number];
            let disk = Arc::new(Disk::open(self.herd.sheep(sheep), face, name).await?);
            let seed = self.random.below(1 << 30) as u64;
            let mix = Mix { writers: WRITERS, zeros: 8, seed };
            let writers = Writers::start(&disk, ledger, mix);
            all.push(Traffic { writers, disk, sheep, reconnects: number == 1 });
        }
        let changes = 1 + self.random.below(self.scale.changes_max as usize) as u64;
        for traffic in &mut all {
            traffic.writers.more(changes / 2, STALL).await?;
        }
        self.pause(20).await;
        Ok(all)
    }

    async fn abandon(&mut self, traffic: Vec<Traffic>) -> Option<Vec<Traffic>> {
        for traffic in traffic {
            self.figures.acknowledged += traffic.writers.abandon().await;
        }
        None
    }

    /// Up to so many milliseconds: the moment of the kill is what is chosen, nothing is waited
    /// for.
    async fn pause(&mut self, milliseconds: usize) {
        let pause = self.random.below(milliseconds * 1000) as u64;
        tokio::time::sleep(Duration::from_micros(pause)).await;
    }

    fn spawn_all(&mut self) -> Result<()> {
        (0..self.herd.count()).try_for_each(|index| self.herd.sheep_mut(index).spawn())
    }

    async fn cut_power(&mut self) -> Result<()> {
        self.figures.kills += self.herd.cut_power_of_the_living()?;
        Ok(())
    }

    /// What dead sheep have in their stores: everything acknowledged before `time`.
    fn look_into_stores(&mut self, sheep: &[usize], time: u64) -> Result<()> {
        for index in sheep {
            let mut stores = copies::open(self.herd.sheep(*index))?;
            for volume in &self.volumes {
                let looked =
                    copies::check_all(&mut stores, &volume.ledger.lock(), volume.vid, SHIFT, time);
                let looked = looked.with_context(|| format!("{} in sheep {index}", volume.name))?;
                self.figures.blocks += looked.blocks;
            }
        }
        Ok(())
    }

    /// Reads both disks through all faces; the first settles what was in doubt.
    async fn look_through_faces(&mut self, sheep: &[usize]) -> Result<()> {
        for Volume { name, ledger, .. } in &self.volumes {
            let mut is_first = true;
            for face in [Face::Nbd, Face::Legacy, Face::Admin, Face::NbdUnix, Face::LegacyUnix] {
                let sheep = self.herd.sheep(sheep[self.random.below(sheep.len())]);
                let disk = Disk::open(sheep, face, name).await?;
                let read = disk.read(0, (self.scale.mib * MIB) as usize);
                let bytes = wait::within("a read of a whole disk", STALL, read).await?;
                disk.close().await?;
                let what = || format!("{name} through sheep {} by {face:?}", sheep.index);
                let looked = ledger.lock().settle(&bytes).with_context(what)?;
                if is_first {
                    self.figures.note_first(looked);
                } else {
                    self.figures.blocks += looked.blocks;
                    ensure!(looked.old + looked.new == 0, "{}: still in doubt", what());
                }
                is_first = false;
            }
        }
        Ok(())
    }

    /// All copies are the same, as blocks and as bytes.
    fn compare_copies(&mut self, sheep: &[usize]) -> Result<()> {
        let mut stores = Vec::new();
        for index in sheep {
            stores.push(copies::open(self.herd.sheep(*index))?);
        }
        for volume in &self.volumes {
            let all: Result<Vec<_>> =
                stores.iter_mut().map(|stores| copies::all(stores, volume.vid)).collect();
            let all = all?;
            for (index, other) in sheep.iter().zip(&all).skip(1) {
                let difference = copies::difference(&all[0], other);
                ensure!(
                    difference.is_none(),
                    "{} in sheep {} and {index}: {difference:?}",
                    volume.name,
                    sheep[0]
                );
            }
            self.figures.blocks += all
                .iter()
                .flat_map(|a| a.values())
                .map(|copy| copy.blocks.len() as u64)
                .sum::<u64>();
        }
        Ok(())
    }
}

/// Writers on one disk.
struct Traffic {
    writers: Writers,
    disk: Arc<Disk>,
    sheep: usize,
    /// The client goes on by itself when its sheep comes back.
    reconnects: bool,
}
