//! A bucket that falls back, and one whose segments are damaged for a time.

use std::sync::atomic::Ordering;

use alleycat::storage::ObjectKey;
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::bucket::{Bucket, EPOCH_MS, stored_object};

/// Age of a segment, in milliseconds, by which each instance has listed it, or has missed so many
/// polls that it reads the snapshots.
const LISTED_AFTER_MS: u64 = 45_000;

impl Bucket {
    /// Loses something: a snapshot or `erasures.gz` is as it was, or missing, or a segment is gone.
    pub fn fall_back(&self, now_ms: u64, chance: &mut StdRng) {
        self.fell_back.store(true, Ordering::Relaxed);
        let mut objects = self.objects.lock().unwrap();
        let candidates = objects.keys().filter(|path| match ObjectKey::parse(path) {
            Some(ObjectKey::Segment(id)) => id.time_ms + LISTED_AFTER_MS < now_ms,
            _ => !path.contains('/'),
        });
        let candidates: Vec<String> = candidates.cloned().collect();
        if candidates.is_empty() {
            return;
        }
        let path = candidates[chance.random_range(0..candidates.len())].clone();
        let mut lost = self.lost.lock().unwrap();
        lost.extend(objects.remove(&path).map(|object| object.body));
        let bodies = self.bodies.lock().unwrap();
        // A lost body does not come back: perhaps nobody has seen it.
        let earlier = bodies.get(&path).into_iter().flatten();
        let earlier: Vec<&Bytes> = earlier.filter(|body| !lost.contains(body)).collect();
        if !earlier.is_empty() && chance.random_bool(0.7) {
            let body = earlier[chance.random_range(0..earlier.len())].clone();
            objects.insert(path, stored_object(body));
        }
    }

    /// Damages a segment, or plants a damaged one.
    pub fn damage(&self, chance: &mut StdRng) {
        let mut objects = self.objects.lock().unwrap();
        let segments = objects.keys().filter(|path| path.starts_with("journal/"));
        let segments: Vec<String> = segments.cloned().collect();
        let planted = ObjectKey::Segment(alleycat::storage::SegmentId {
            time_ms: EPOCH_MS,
            process: 7,
            counter: chance.random(),
        });
        let number = chance.random_range(0..=segments.len());
        let path = segments.get(number).cloned().unwrap_or(planted.path());
        let damaged = stored_object(Bytes::from_static(b"damaged"));
        if let Some(object) = objects.insert(path.clone(), damaged)
            && object.body != "damaged"
        {
            self.damaged.lock().unwrap().insert(path, object.body);
        }
    }

    /// Repairs damaged segments as an operator does: restores them, or removes them.
    pub fn repair(&self) {
        let mut objects = self.objects.lock().unwrap();
        objects.retain(|_, object| object.body != "damaged");
        for (path, body) in std::mem::take(&mut *self.damaged.lock().unwrap()) {
            objects.insert(path, stored_object(body));
        }
    }
}

/// Returns the number of fallbacks that instances counted.
pub fn fallbacks(recorded: &PrometheusHandle) -> u32 {
    let text = recorded.render();
    let name = "alleycat_store_fallbacks_total ";
    let count = text.lines().find_map(|line| line.strip_prefix(name));
    count.map_or(0, |count| count.parse().unwrap())
}
