//! Orders of slots: by output for the ranks, kept right by repair.

use std::cmp::Ordering;

use crate::domain::effort::RacerId;

/// The slots that have an output, by output descending, then by id ascending. `last` is any earlier order of the same
/// board: what is still in order in it is kept in one pass, and only what moved is sorted.
pub(crate) fn repair(last: &[u32], outputs: &[f64], ids: &[RacerId]) -> Vec<u32> {
    let compare = |a: u32, b: u32| {
        let by_output = outputs[b as usize].total_cmp(&outputs[a as usize]);
        by_output.then_with(|| ids[a as usize].cmp(&ids[b as usize]))
    };
    let mut seen = vec![false; outputs.len()];
    let mut kept: Vec<u32> = Vec::with_capacity(last.len());
    let mut moved: Vec<u32> = Vec::new();
    // A slot beyond the outputs joined after this board was taken.
    for &slot in last.iter().filter(|&&slot| (slot as usize) < outputs.len()) {
        seen[slot as usize] = true;
        if outputs[slot as usize].is_nan() {
            continue;
        }
        match kept.last() {
            Some(&before) if compare(before, slot) == Ordering::Greater => moved.push(slot),
            _ => kept.push(slot),
        }
    }
    moved.extend(
        (0..outputs.len() as u32)
            .filter(|&slot| !seen[slot as usize] && !outputs[slot as usize].is_nan()),
    );
    moved.sort_unstable_by(|&a, &b| compare(a, b));
    merge(&kept, &moved, |a, b| compare(a, b) == Ordering::Less)
}

/// For every place in the order how many different outputs there are down to it.
pub(crate) fn dense_ranks(order: &[u32], outputs: &[f64]) -> Vec<u32> {
    let mut rank = 0;
    let mut last = f64::NAN;
    let ranks = order.iter().map(|&slot| {
        let output = outputs[slot as usize];
        rank += u32::from(output != last);
        last = output;
        rank
    });
    ranks.collect()
}

/// Two ordered lists as one.
pub(crate) fn merge(a: &[u32], b: &[u32], before: impl Fn(u32, u32) -> bool) -> Vec<u32> {
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
