use chela_kernels::{Error, KvCache, KvLayout, KvType};

use super::Plan;

/// The keys and values of all layers, block by block.
#[derive(Debug)]
pub struct KvStore {
    pub(super) layers: Vec<KvCache>,
}

impl KvStore {
    /// Room for `blocks` blocks in each layer; memory is taken as blocks are written.
    ///
    /// # Errors
    /// If the system gives no memory.
    pub fn new(plan: &Plan, kind: KvType, blocks: usize) -> Result<Self, Error> {
        let layers = layouts(plan, kind)?.into_iter().map(|layout| KvCache::new(layout, blocks));
        Ok(Self { layers: layers.collect::<Result<_, _>>()? })
    }

    /// Bytes of one block, all layers together.
    ///
    /// # Errors
    /// If the plan has a shape that the kernels do not have.
    pub fn block_bytes(plan: &Plan, kind: KvType) -> Result<usize, Error> {
        Ok(layouts(plan, kind)?.iter().map(KvLayout::block_bytes).sum())
    }
}

fn layouts(plan: &Plan, kind: KvType) -> Result<Vec<KvLayout>, Error> {
    plan.caches.iter().map(|[heads, dim]| KvLayout::new(kind, *heads, *dim)).collect()
}
