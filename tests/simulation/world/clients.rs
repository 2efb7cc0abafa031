//! The clients of a world: senders that retry, and an operator who erases.

use std::time::Duration;

use alleycat::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};
use alleycat::domain::erasure::ErasureScope;
use alleycat::domain::racer_names::RacerName;
use alleycat::ledger::clock::Clock;
use alleycat::ledger::{CommitResult, Erased, Ledger, WriteBatch};
use rand::RngExt;
use smol_str::format_smolstr;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::truth::{keys, output};
use super::{CLASSES, RACERS, SECOND_MAX, World};

impl World {
    /// Starts a delivery. Retries it as Firehose does, until it is acknowledged or the retry
    /// duration ends.
    pub(super) fn deliver(&mut self) -> JoinHandle<()> {
        // Device clocks differ, but an effort's time is never after its receipt.
        let device_ms = self.instances[0].clock.wall_ms() + self.chance.random_range(0..6_000);
        let count = self.chance.random_range(1..8);
        let efforts: Vec<Effort> = (0..count).map(|_| self.effort(device_ms)).collect();
        let name = self.chance.random_bool(0.3).then(|| {
            let racer = RacerId(self.chance.random_range(0..RACERS));
            (
                racer,
                format_smolstr!("name {}", self.chance.random_range(0..3)),
            )
        });
        let number = self.chance.random_range(0..self.instances.len());
        // The ledgers that the tries reach. A crashed instance does not respond.
        let ledgers: Vec<Ledger> = self
            .instances
            .iter()
            .filter_map(|instance| Some(instance.running.as_ref()?.ledger.clone()))
            .collect();
        let truth = self.truth.clone();
        let mut pause = Duration::from_secs(1);
        tokio::spawn(async move {
            for attempt in number.. {
                let ledger = &ledgers[attempt % ledgers.len()];
                let receipt_ms = ledger.now_ms();
                let efforts = efforts.iter().map(|effort| Effort {
                    time: effort.time.min(receipt_ms),
                    ..*effort
                });
                let efforts: Vec<Effort> = efforts.collect();
                let name = name.clone().map(|(racer, text)| {
                    (
                        racer,
                        RacerName {
                            at_ms: device_ms.min(receipt_ms),
                            text,
                        },
                    )
                });
                truth.lock().unwrap().note_sent(&efforts, name.as_ref());
                let batch = WriteBatch {
                    efforts: efforts.clone(),
                    names: name.into_iter().collect(),
                    ..WriteBatch::default()
                };
                let outcome =
                    tokio::time::timeout(Duration::from_secs(60), ledger.commit(batch)).await;
                if let Ok(Ok(CommitResult { rejected, .. })) = outcome {
                    let mut truth = truth.lock().unwrap();
                    truth.check_acknowledged(ledger, &efforts, &rejected);
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(120));
            }
        })
    }

    /// Erases something on one instance, and retries while the instance lives.
    pub(super) fn erase(&mut self) {
        let mut scope = ErasureScope::all(RacerId(self.chance.random_range(0..RACERS)), None);
        if self.chance.random() {
            scope.class_id = ClassId::new(self.chance.random_range(1..=CLASSES));
            if self.chance.random() {
                scope.from = Second(self.chance.random_range(0..=SECOND_MAX));
                scope.to = Second(self.chance.random_range(scope.from.0..=SECOND_MAX));
            }
            if self.chance.random() {
                scope.above = Output::new(f64::from(self.chance.random_range(0..50u32)));
            }
        }
        let number = self.chance.random_range(0..self.instances.len());
        let running = self.instances[number].running.as_mut().unwrap();
        let ledger = running.ledger.clone();
        let truth = self.truth.clone();
        running.requests.push(tokio::spawn(async move {
            for _ in 0..5 {
                if let Ok(Erased { erasure, .. }) = ledger.erase(scope.clone(), None).await {
                    let erasures = ledger.erasures();
                    let mut truth = truth.lock().unwrap();
                    for key in keys() {
                        if let Some(output) = output(&ledger, key) {
                            assert!(
                                truth.may_stand(&erasures, key, output),
                                "{key:?} {output} is rejected as erased"
                            );
                        }
                    }
                    truth.erased.push(erasure);
                    return;
                }
                sleep(Duration::from_secs(5)).await;
            }
        }));
    }

    fn effort(&mut self, device_ms: u64) -> Effort {
        Effort {
            class: ClassId::new(self.chance.random_range(1..=CLASSES)).unwrap(),
            second: Second(self.chance.random_range(0..=SECOND_MAX)),
            racer: RacerId(self.chance.random_range(0..RACERS)),
            output: Output::new(f64::from(self.chance.random_range(0..50u32))).unwrap(),
            race: self.chance.random::<bool>().then_some(RaceId(1)),
            time: if self.chance.random_bool(0.9) {
                device_ms
            } else {
                0
            },
        }
    }
}
