//! The NDJSON line of an effort or a race row, in segments, `races-<N>.gz` and `finishes-<N>.gz`.
//! It has the form of an input record, with its output.

use serde::de::Error;
use serde::{Deserialize, Serialize};

use crate::domain::effort::{ClassId, Effort, Output, RaceId, RacerId, Second};
use crate::domain::race_row::RaceRow;

/// A line with `at` is a race row; one without is an effort.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordLine {
    class_id: ClassId,
    second: Second,
    racer_id: RacerId,
    output: Output,
    #[serde(skip_serializing_if = "Option::is_none")]
    race_id: Option<RaceId>,
    /// 0 if it is unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    device_timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<RowEvent>,
}

/// As in input records, so that a line can be sent as one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RowEvent {
    Final,
}

/// The content of a line.
pub(super) enum Record {
    Effort(Effort),
    RaceRow(RaceRow),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl RecordLine {
    pub(super) fn of_effort(effort: &Effort) -> Self {
        Self {
            class_id: effort.class,
            second: effort.second,
            racer_id: effort.racer,
            output: effort.output,
            race_id: effort.race,
            device_timestamp: effort.time,
            at: None,
            event: None,
        }
    }

    pub(super) fn of_race_row(row: &RaceRow) -> Self {
        Self {
            class_id: row.class,
            second: row.second,
            racer_id: row.racer,
            output: row.output,
            race_id: Some(row.race),
            device_timestamp: row.effort_time(),
            at: Some(row.at_ms),
            event: row.is_final.then_some(RowEvent::Final),
        }
    }

    pub(super) fn record(self) -> Result<Record, serde_json::Error> {
        let Some(at_ms) = self.at else {
            return Ok(Record::Effort(Effort {
                class: self.class_id,
                second: self.second,
                racer: self.racer_id,
                output: self.output,
                race: self.race_id,
                time: self.device_timestamp,
            }));
        };
        let race = self.race_id;
        Ok(Record::RaceRow(RaceRow {
            class: self.class_id,
            race: race.ok_or_else(|| serde_json::Error::custom("a row with `at` needs raceId"))?,
            racer: self.racer_id,
            second: self.second,
            output: self.output,
            at_ms,
            has_effort_time: self.device_timestamp != 0,
            is_final: self.event.is_some(),
        }))
    }
}
