//! The rank order of a column's slots, and its repair after changes.

use std::cmp::Ordering;

use crate::domain::effort::RacerId;

/// Returns the slots with an output, by output descending, then by id ascending. `last` is any
/// earlier order of the same column: one pass keeps the slots that are still in order, and only the
/// others are sorted.
pub(super) fn repair(last: &[u32], outputs: &[f64], ids: &[RacerId]) -> Vec<u32> {
    let compare = |a: u32, b: u32| {
        let by_output = outputs[b as usize].total_cmp(&outputs[a as usize]);
        by_output.then_with(|| ids[a as usize].cmp(&ids[b as usize]))
    };
    let mut seen = vec![false; outputs.len()];
    let mut ordered: Vec<u32> = Vec::with_capacity(last.len());
    let mut moved: Vec<u32> = Vec::new();
    // A slot beyond the outputs was added after this board was taken.
    for &slot in last.iter().filter(|&&slot| (slot as usize) < outputs.len()) {
        seen[slot as usize] = true;
        if outputs[slot as usize].is_nan() {
            continue;
        }
        match ordered.last() {
            Some(&before) if compare(before, slot) == Ordering::Greater => moved.push(slot),
            _ => ordered.push(slot),
        }
    }
    moved.extend(
        (0..outputs.len() as u32)
            .filter(|&slot| !seen[slot as usize] && !outputs[slot as usize].is_nan()),
    );
    moved.sort_unstable_by(|&a, &b| compare(a, b));
    merge(&ordered, &moved, |a, b| compare(a, b) == Ordering::Less)
}

/// Returns for every position the number of distinct outputs up to it. `outputs` are in rank order.
pub(in crate::state) fn dense_ranks(outputs: impl Iterator<Item = f64>) -> Vec<u32> {
    let mut rank = 0;
    let mut last = f64::NAN;
    let ranks = outputs.map(|output| {
        rank += u32::from(output != last);
        last = output;
        rank
    });
    ranks.collect()
}

/// Merges two ordered lists.
pub(super) fn merge(a: &[u32], b: &[u32], before: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let mut rest = a;
    for &slot in b {
        let split = rest.partition_point(|&other| before(other, slot));
        merged.extend_from_slice(&rest[..split]);
        merged.push(slot);
        rest = &rest[split..];
    }
    merged.extend_from_slice(rest);
    merged
}
