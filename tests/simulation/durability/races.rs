//! Races and finishes: what is durable when, and what an erasure or the bound on rows leaves.

use alleycat::domain::race_row::RaceRow;
use alleycat::ledger::BatchRow;

use super::*;

/// A row of racer 1 in class 1.
fn row(race: u64, second: u32, output: f64, is_final: bool) -> RaceRow {
    let effort = Effort {
        race: Some(RaceId(race)),
        time: EPOCH_MS,
        ..builders::effort(1, second, 1, output)
    };
    RaceRow::new(&effort, is_final, EPOCH_MS).unwrap()
}

async fn send(instance: &Instance, row: RaceRow) {
    let rows = vec![BatchRow { row, index: 0 }];
    let batch = match row.is_final {
        true => WriteBatch {
            race_finals: rows,
            ..WriteBatch::default()
        },
        false => WriteBatch {
            race_positions: rows,
            ..WriteBatch::default()
        },
    };
    instance.ledger.commit(batch).await.unwrap();
}

/// Returns the durable rows of racer 1 in class 1, then the racer's finish.
fn rows_of(instance: &Instance) -> Vec<RaceRow> {
    let races = instance.ledger.races();
    races.rows_of(ClassId::new(1).unwrap(), RacerId(1))
}

/// Returns whether the stored object has a row with this output.
fn has_row(bucket: &Bucket, key: &str, output: u32) -> bool {
    let output = format!("\"output\":{output},");
    let object = bucket.get(key);
    object.is_some_and(|object| gunzip(&object.body).contains(&output))
}

/// Returns whether the stored races and finishes of class 1 have a row with this output.
fn is_folded(bucket: &Bucket, output: u32) -> bool {
    has_row(bucket, "races-1.gz", output) && has_row(bucket, "finishes-1.gz", output)
}

/// Races change as long as anyone rides, so they are written less often than finishes.
#[tokio::test(start_paused = true)]
async fn races_are_written_once_in_five_intervals() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    send(&instance, row(7, 3, 20.0, true)).await;
    time_until(|| is_folded(&bucket, 20)).await;
    send(&instance, row(7, 5, 30.0, true)).await;
    let finish = time_until(|| has_row(&bucket, "finishes-1.gz", 30)).await;
    assert!(finish <= SNAPSHOT_INTERVAL, "{finish:?}");
    let race = finish + time_until(|| has_row(&bucket, "races-1.gz", 30)).await;
    assert!(race > SNAPSHOT_INTERVAL * 4, "{race:?}");
    assert!(race <= SNAPSHOT_INTERVAL * 5, "{race:?}");
    let covered = time_until(|| segments(&bucket).is_empty()).await;
    assert!((60..65).contains(&covered.as_secs()), "{covered:?}");
}

/// An instance that does not know an erasure yet may delete a segment, since a row that is erased
/// covers it. Another one has read the segment again by then: only its memory has the row beneath.
#[tokio::test(start_paused = true)]
async fn rows_beneath_erased_ones_are_journaled_again() {
    let (beneath, glitch) = (row(7, 3, 20.0, true), row(7, 5, 90.0, true));
    let of_another = RaceRow {
        racer: RacerId(2),
        ..row(7, 3, 10.0, true)
    };
    let of_class = || ErasureScope::all(RacerId(1), ClassId::new(1));
    let above = ErasureScope {
        above: Output::new(50.0),
        ..of_class()
    };
    let one_second = ErasureScope {
        from: Second(5),
        to: Second(5),
        ..of_class()
    };
    for scope in [above, one_second] {
        let bucket = Arc::<Bucket>::default();
        let eraser = Instance::start(&bucket).await.unwrap();
        let other = Instance::start(&bucket).await.unwrap();
        // After a snapshot without them, the next one has both, so their segments are kept.
        send(&eraser, of_another).await;
        time_until(|| is_folded(&bucket, 10)).await;
        send(&eraser, beneath).await;
        send(&eraser, glitch).await;
        let is_glitch_known = || rows_of(&eraser) == [glitch; 2] && rows_of(&other) == [glitch; 2];
        time_until(is_glitch_known).await;
        time_until(|| is_folded(&bucket, 90)).await; // the next snapshots come an interval later
        let written = segments(&bucket);
        other.way.set_defects(Defects {
            stalled: written
                .iter()
                .filter_map(|it| ObjectKey::parse(it))
                .collect(),
            ..Defects::default()
        });
        eraser.ledger.erase(scope.clone(), None).await.unwrap();
        time_until(|| rows_of(&eraser) == [beneath; 2]).await;
        for path in &written {
            bucket.remove(&ObjectKey::parse(path).unwrap());
        }
        let seen = time_until(|| rows_of(&other) == [beneath; 2]).await;
        assert!(
            seen < COMMIT_INTERVAL + SYNC_INTERVAL * 2,
            "{scope:?}: {seen:?}"
        );
        // No snapshot has them yet.
        for instance in [&eraser, &other] {
            instance.task.abort();
        }
        let restarted = Instance::start(&bucket).await.unwrap();
        assert_eq!(rows_of(&restarted), [beneath; 2], "{scope:?}");
    }
}

/// A final is compared with durable rows. A position that is only pending may be lost in a crash, so
/// it makes no final superfluous.
#[tokio::test(start_paused = true)]
async fn final_beside_a_pending_position_survives_a_crash() {
    let last = row(7, 5, 20.0, true);
    for pending in [row(7, 5, 20.0, false), row(7, 6, 20.0, false)] {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        let better = row(6, 5, 30.0, true); // so the final changes no finish
        send(&instance, better).await;
        send(&instance, pending).await;
        assert_eq!(rows_of(&instance), [better; 2], "it is not durable yet");
        send(&instance, last).await;
        instance.task.abort();
        let restarted = Instance::start(&bucket).await.unwrap();
        let rows = rows_of(&restarted);
        assert!(
            rows.iter()
                .any(|it| it.race == last.race && it.dominates(&last)),
            "{rows:?} beside {pending:?}"
        );
    }
}

/// Rows that the bound has removed on one instance leave the others as well.
#[tokio::test(start_paused = true)]
async fn floor_that_the_bound_raises_is_journaled_for_all() {
    const RACES: u64 = 112_000; // more than a class keeps, with one row each
    let first_ms = EPOCH_MS - 3_600_000;
    let segment = |races: std::ops::Range<u64>| {
        let header = "{\"alleycat\":\"journal\",\"version\":2}\n".to_owned();
        let line = |race| {
            let at_ms = first_ms + race;
            format!(
                "{{\"classId\":1,\"second\":1,\"racerId\":1,\"output\":1,\"raceId\":{race},\"at\":{at_ms}}}\n"
            )
        };
        gzip(
            std::iter::once(header)
                .chain(races.map(line))
                .collect::<String>(),
        )
    };
    let bucket = Arc::<Bucket>::default();
    let [full, other] = [
        Instance::start(&bucket).await.unwrap(),
        Instance::start(&bucket).await.unwrap(),
    ];
    // While it cannot be read, there are no snapshots, which carry the floor as well.
    plant(&bucket, &segment_key(1, 1), "damaged");
    time_until(|| full.store.gets().contains(&segment_key(1, 1))).await;
    plant(&bucket, &segment_key(1, 2), segment(0..1));
    time_until(|| rows_of(&other).len() == 1).await;
    other.way.set_defects(Defects {
        stalled: vec![segment_key(1, 3)],
        ..Defects::default()
    });
    plant(&bucket, &segment_key(1, 3), segment(0..RACES));
    time_until(|| full.ledger.races().floor_ms(ClassId::new(1).unwrap()) > first_ms).await;
    time_until(|| rows_of(&other).is_empty()).await;
    assert_eq!([full.snapshots(), other.snapshots()], [[], []]);
}
