//! Tests of the rank order against a sort.

use proptest::prelude::*;

use super::*;

/// A column of slots whose ids do not ascend.
struct Slots {
    outputs: Vec<f64>,
    ids: Vec<RacerId>,
    by_id: Vec<u32>,
}

impl Slots {
    fn new(count: u32) -> Self {
        Self {
            outputs: vec![f64::NAN; count as usize],
            ids: (0..count)
                .map(|slot| RacerId(u64::from(slot * 7 % 101)))
                .collect(),
            by_id: {
                let mut slots: Vec<u32> = (0..count).collect();
                slots.sort_unstable_by_key(|slot| slot * 7 % 101);
                slots
            },
        }
    }

    fn set(&mut self, order: &mut RankOrder, slot: u32, output: f64) {
        let (outputs, ids) = (&self.outputs, &self.ids);
        order.move_slot(slot, output, SlotKeys { outputs, ids });
        self.outputs[slot as usize] = output;
    }

    /// Checks an order against a naive one.
    fn check(&self, order: &RankOrder) -> Result<(), TestCaseError> {
        let slots = 0..self.outputs.len() as u32;
        let mut expected: Vec<u32> = slots.filter(|&it| !self.output(it).is_nan()).collect();
        expected.sort_by(|&a, &b| {
            let by_output = self.output(b).total_cmp(&self.output(a));
            by_output.then(self.ids[a as usize].cmp(&self.ids[b as usize]))
        });
        prop_assert_eq!(order.slots().collect::<Vec<_>>(), &expected[..]);
        for (position, &slot) in expected.iter().enumerate() {
            prop_assert_eq!(order.slot(position), slot);
            let mut outputs: Vec<f64> = expected[..position]
                .iter()
                .map(|&it| self.output(it))
                .collect();
            outputs.dedup();
            prop_assert_eq!(
                order.distinct_before(position, &self.outputs),
                outputs.len()
            );
            let above = order.partition_point(|other| self.output(other) > self.output(slot));
            let greater = expected
                .iter()
                .filter(|&&it| self.output(it) > self.output(slot));
            prop_assert_eq!(above, greater.count());
        }
        let (lens, small) = (
            order.chunks.iter().map(|it| it.slots.len()),
            CHUNK_SLOTS / 2,
        );
        prop_assert!(lens.clone().all(|len| (1..=CHUNK_SLOTS_MAX).contains(&len)));
        // Chunks do not become many: two that follow each other are not both small.
        let lens: Vec<_> = lens.collect();
        prop_assert!(
            lens.windows(2)
                .all(|pair| pair.iter().any(|&len| len >= small)),
            "{:?}",
            lens
        );
        Ok(())
    }

    fn output(&self, slot: u32) -> f64 {
        self.outputs[slot as usize]
    }
}

fn some_output() -> impl Strategy<Value = f64> {
    let whole = (0..12_u8).prop_map(f64::from);
    // Their leading bits are equal.
    let close = (0..40_u64).prop_map(|bits| f64::from_bits(6_f64.to_bits() + bits));
    prop_oneof![4 => whole, 2 => close, 1 => Just(f64::NAN)]
}

proptest! {
    #[test]
    fn moved_slots_stand_where_a_sort_puts_them(
        start in prop::collection::vec(some_output(), 60),
        moves in prop::collection::vec((0..60_u32, some_output(), any::<bool>()), 0..120),
    ) {
        let mut slots = Slots::new(60);
        slots.outputs = start;
        let mut order = RankOrder::sorted(&slots.by_id, &slots.outputs);
        let mut kept = Vec::new();
        for (slot, output, is_kept) in moves {
            slots.check(&order)?;
            if is_kept {
                kept.push((order.clone(), order.slots().collect::<Vec<_>>()));
            }
            slots.set(&mut order, slot, output);
        }
        slots.check(&order)?;
        for (copy, slots) in kept {
            prop_assert_eq!(copy.slots().collect::<Vec<_>>(), slots);
        }
    }
}

#[test]
fn order_of_an_empty_column_grows_from_nothing() {
    let mut slots = Slots::new(30);
    let mut order = RankOrder::sorted(&slots.by_id, &[]);
    for slot in 0..30 {
        slots.set(&mut order, slot, f64::from(slot % 3));
        slots.check(&order).unwrap();
    }
    for slot in 0..30 {
        slots.set(&mut order, slot, f64::NAN);
        slots.check(&order).unwrap();
    }
    assert!(order.chunks.is_empty());
}
