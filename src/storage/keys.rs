//! The names of the stored objects, built and parsed here alone.

use std::fmt;

use crate::domain::effort::ClassId;

/// The name of an object in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// `class-<N>.gz`: the history of a class, which is also its snapshot.
    History(ClassId),
    /// `races-<N>.gz`: the recent races of a class.
    Races(ClassId),
    /// `finishes-<N>.gz`: each racer's best finish in a class.
    Finishes(ClassId),
    /// `racers.gz`: the racers' names.
    Racers,
    /// `erasures.gz`: the erasures.
    Erasures,
    /// `journal/<time>-<process>-<counter>.ndjson.gz`.
    Segment(SegmentId),
    /// `processing-failed/YYYY/MM/dd/HH/<time>-<process>-<counter>.ndjson.gz`.
    Quarantine(SegmentId),
    /// `probe/<time>-<process>-<counter>`: written and deleted to check what the store supports.
    Probe(SegmentId),
}

const SEGMENT_SUFFIX: &str = ".ndjson.gz";

impl ObjectKey {
    /// The folders of keys that are not at the root.
    pub(crate) const FOLDERS: [&str; 3] = ["journal", "processing-failed", "probe"];

    /// Returns the name below the store's folder or prefix.
    pub fn path(&self) -> String {
        match self {
            Self::History(class) => format!("class-{class}.gz"),
            Self::Races(class) => format!("races-{class}.gz"),
            Self::Finishes(class) => format!("finishes-{class}.gz"),
            Self::Racers => "racers.gz".to_owned(),
            Self::Erasures => "erasures.gz".to_owned(),
            Self::Segment(id) => format!("journal/{id}{SEGMENT_SUFFIX}"),
            Self::Quarantine(id) => format!(
                "processing-failed/{}/{id}{SEGMENT_SUFFIX}",
                hour_path(id.time_ms)
            ),
            Self::Probe(id) => format!("probe/{id}"),
        }
    }

    /// Parses a name; `None` when [`Self::path`] never returns it.
    pub fn parse(path: &str) -> Option<Self> {
        let of_class = |prefix: &str| {
            let rest = path.strip_prefix(prefix)?;
            ClassId::new(rest.strip_suffix(".gz")?.parse().ok()?)
        };
        let key = if let Some(class) = of_class("class-") {
            Self::History(class)
        } else if let Some(class) = of_class("races-") {
            Self::Races(class)
        } else if let Some(class) = of_class("finishes-") {
            Self::Finishes(class)
        } else if let Some(id) = path
            .strip_prefix("journal/")
            .and_then(|rest| rest.strip_suffix(SEGMENT_SUFFIX))
        {
            Self::Segment(SegmentId::parse(id)?)
        } else if let Some(rest) = path.strip_prefix("processing-failed/") {
            Self::Quarantine(SegmentId::parse(
                rest.rsplit('/').next()?.strip_suffix(SEGMENT_SUFFIX)?,
            )?)
        } else if let Some(id) = path.strip_prefix("probe/") {
            Self::Probe(SegmentId::parse(id)?)
        } else {
            match path {
                "racers.gz" => Self::Racers,
                "erasures.gz" => Self::Erasures,
                _ => return None,
            }
        };
        (key.path() == path).then_some(key)
    }

    /// Returns the object's media type.
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Self::Probe(_) => "text/plain",
            _ => "application/gzip",
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// The unique id of an object that is written once: a segment, a quarantined batch, a probe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// Wall-clock time of the write in milliseconds since 1970, for people who read listings.
    pub time_ms: u64,
    /// 128 random bits of the process.
    pub process: u128,
    /// Counts the writes that the process tried.
    pub counter: u64,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:013}-{:032x}-{:08}",
            self.time_ms, self.process, self.counter
        )
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SegmentId {
    /// Returns an id that no other process makes, outside the ledger's own counting.
    pub fn random(time_ms: u64) -> Self {
        Self {
            time_ms,
            process: rand::random(),
            counter: 0,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let id = Self {
            time_ms: fields.next()?.parse().ok()?,
            process: u128::from_str_radix(fields.next()?, 16).ok()?,
            counter: fields.next()?.parse().ok()?,
        };
        (id.to_string() == text).then_some(id)
    }
}

/// Returns `YYYY/MM/dd/HH` in UTC.
fn hour_path(time_ms: u64) -> String {
    let time = i64::try_from(time_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default();
    time.strftime("%Y/%m/%d/%H").to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_round_trips_through_its_path(
            time_ms in 0u64..4_000_000_000_000, process: u128, counter: u64, class in 1u16..,
        ) {
            let id = SegmentId { time_ms, process, counter };
            let class = ClassId::new(class).expect("not zero");
            for key in [
                ObjectKey::History(class), ObjectKey::Races(class), ObjectKey::Finishes(class),
                ObjectKey::Racers, ObjectKey::Erasures,
                ObjectKey::Segment(id), ObjectKey::Quarantine(id), ObjectKey::Probe(id),
            ] {
                let path = key.path();
                prop_assert!(path.split_once('/').is_none_or(|(folder, _)| ObjectKey::FOLDERS.contains(&folder)));
                prop_assert_eq!(ObjectKey::parse(&path), Some(key));
            }
        }
    }

    #[test]
    fn foreign_names_do_not_parse() {
        for path in [
            "",
            "class-0.gz",
            "class-01.gz",
            "class-1.gz.tmp",
            "races-0.gz",
            "journal/",
            "journal/x.ndjson.gz",
            "notes.txt",
        ] {
            assert_eq!(ObjectKey::parse(path), None, "{path}");
        }
    }

    #[test]
    fn quarantine_path_contains_the_hour() {
        let id = SegmentId {
            time_ms: 1_619_185_789_755,
            process: 1,
            counter: 2,
        };
        let path = ObjectKey::Quarantine(id).path();
        assert!(
            path.starts_with("processing-failed/2021/04/23/13/1619185789755-"),
            "{path}"
        );
    }
}
