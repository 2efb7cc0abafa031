//! Prepares the data of `benches/run`: stores with many racers, and bodies of deliveries.
//!
//! It is a cargo example, so that `cargo build --release --example prepare` builds it with the
//! release profile.

mod load;

use std::fs;
use std::path::PathBuf;

use alleycat::domain::effort::{ClassId, RacerId, Second};
use alleycat::state::table::Table;
use alleycat::storage::history_file::History;
use alleycat::storage::{self, ObjectKey, Precondition};
use anyhow::Context;
use clap::{Parser, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::SeedableRng;
use rand::rngs::StdRng;

use load::Numbers;

/// Prepares the data of `benches/run`.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Cadences and resistances are whole numbers instead of doubles.
    #[arg(long, global = true)]
    whole_numbers: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a folder store in which every racer of every class has an effort at every second.
    Store {
        /// The folder.
        folder: PathBuf,
        /// Number of racers of each class, class 1 first.
        #[arg(long, value_delimiter = ',', required = true)]
        racers: Vec<u64>,
        /// Number of seconds.
        #[arg(long)]
        seconds: u32,
    },
    /// Writes deliveries of one race, one file each: `0000.json` and so on.
    Bodies {
        /// The folder.
        folder: PathBuf,
        /// Classes in the race, mixed in each delivery.
        #[arg(long, value_delimiter = ',', required = true)]
        classes: Vec<u16>,
        /// Number of racers of each class.
        #[arg(long)]
        racers: u64,
        /// Number of records in a delivery.
        #[arg(long)]
        records: usize,
        /// Number of deliveries.
        #[arg(long)]
        count: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli {
        command,
        whole_numbers,
    } = Cli::parse();
    let numbers = if whole_numbers {
        Numbers::Whole
    } else {
        Numbers::Doubles
    };
    match command {
        Command::Store {
            folder,
            racers,
            seconds,
        } => fill(folder, &racers, seconds, numbers).await,
        Command::Bodies {
            folder,
            classes,
            racers,
            records,
            count,
        } => {
            let classes: Option<Vec<_>> = classes.into_iter().map(ClassId::new).collect();
            let classes = classes.context("classes count from 1")?;
            let mut race = load::Race::new(&classes, racers, Second(0), numbers);
            fs::create_dir_all(&folder)?;
            for place in 0..count {
                fs::write(
                    folder.join(format!("{place:04}.json")),
                    race.delivery(records),
                )?;
            }
            Ok(())
        }
    }
}

async fn fill(
    folder: PathBuf,
    racers: &[u64],
    seconds: u32,
    numbers: Numbers,
) -> anyhow::Result<()> {
    let store = storage::open(&format!("file:{}", folder.display())).await?;
    let classes = u16::try_from(racers.len())?;
    let table = Table::new(classes);
    let histories: Vec<History> = std::thread::scope(|scope| {
        let building = ClassId::all(classes).zip(racers).map(|(class, &racers)| {
            let table = &table;
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(class.get().into());
                for second in (0..seconds).map(Second) {
                    let efforts = load::second_of_all(class, racers, second, &mut random, numbers);
                    table.merge(&efforts, 0);
                }
                History::build(table, class, &History::empty(0), 0)
            })
        });
        let building: Vec<_> = building.collect();
        building
            .into_iter()
            .map(|class| class.join().expect("it does not panic"))
            .collect()
    });
    for (class, history) in table.classes().zip(histories) {
        store
            .put(
                &ObjectKey::History(class),
                history.chunks().collect(),
                Precondition::IfNoneMatch,
            )
            .await?;
    }
    let names = (1..=racers.iter().copied().max().unwrap_or(0)).map(|racer| {
        let name = serde_json::json!({ "name": load::name(RacerId(racer)), "at": 1 });
        (racer.to_string(), name)
    });
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut gzip, &names.collect::<serde_json::Map<_, _>>())?;
    store
        .put(
            &ObjectKey::Racers,
            vec![gzip.finish()?.into()],
            Precondition::IfNoneMatch,
        )
        .await?;
    Ok(())
}
