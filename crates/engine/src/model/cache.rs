use chela_kernels::{Error, KvCache, KvLayout, KvType};

use super::Plan;
use crate::block::StateSlot;
use crate::scheduler::Batch;

/// What sequences have computed and need again: the keys and values of all layers, block by block, and
/// beside them the recurrent states of the layers that have one, slot by slot.
#[derive(Debug)]
pub struct KvStore {
    pub(super) layers: Vec<KvCache>,
    states: Vec<States>,
}

/// The states of one layer.
#[derive(Debug)]
struct States {
    width: usize,
    values: Vec<f32>,
}

impl KvStore {
    /// Room for `blocks` blocks and `slots` states in each layer; memory is taken as they are written.
    ///
    /// # Errors
    /// If the system gives no memory.
    pub fn new(plan: &Plan, kind: KvType, blocks: usize, slots: usize) -> Result<Self, Error> {
        let layers = layouts(plan, kind)?.into_iter().map(|layout| KvCache::new(layout, blocks));
        let states = plan.states.iter().map(|&width| States { width, values: vec![0.0; width * slots] });
        Ok(Self { layers: layers.collect::<Result<_, _>>()?, states: states.collect() })
    }

    /// Bytes of one block, all layers together.
    ///
    /// # Errors
    /// If the plan has a shape that the kernels do not have.
    pub fn block_bytes(plan: &Plan, kind: KvType) -> Result<usize, Error> {
        Ok(layouts(plan, kind)?.iter().map(KvLayout::block_bytes).sum())
    }

    /// Bytes of one slot, all layers together.
    #[must_use]
    pub fn slot_bytes(plan: &Plan) -> usize {
        plan.states.iter().sum::<usize>() * size_of::<f32>()
    }

    /// A sequence's state in the layer of this index in [`Plan::states`].
    ///
    /// # Panics
    /// If there is no such layer or slot.
    pub fn state(&mut self, layer: usize, slot: StateSlot) -> &mut [f32] {
        let States { width, values } = &mut self.states[layer];
        &mut values[slot.0 as usize * *width..][..*width]
    }

    /// Empties the slots of the sequences that begin with this batch, for the first time or again after
    /// they had lost their place: a slot still holds what its last owner computed.
    pub(super) fn begin(&mut self, batch: &Batch) {
        for slot in batch.items.iter().filter(|item| item.start == 0).filter_map(|item| item.cache.state) {
            for layer in 0..self.states.len() {
                self.state(layer, slot).fill(0.0);
            }
        }
    }
}

fn layouts(plan: &Plan, kind: KvType) -> Result<Vec<KvLayout>, Error> {
    plan.caches.iter().map(|[heads, dim]| KvLayout::new(kind, *heads, *dim)).collect()
}
