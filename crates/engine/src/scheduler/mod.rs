//! Which sequences compute which tokens in the next step.
//!
//! [`Scheduler`] is a deterministic state machine without clock, text or tensors. One step is
//! [`Scheduler::schedule`], which answers a [`Batch`]; the caller computes it, calls
//! [`Scheduler::complete`], and then [`Scheduler::append`] or [`Scheduler::finish`] for each sequence
//! that sampled. The semantics are those of vLLM's v1 scheduler (one token budget per step, running
//! sequences first, prompts in chunks beside decoding ones, preemption by recomputation), with three
//! additions: two [`Priority`] classes, deficit round robin between clients for prompt tokens, and
//! admission only when a whole prompt fits, so that long prompts do not push each other out.

mod admission;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::block::{BLOCK_TOKENS, BlockHash, BlockId, BlockPool, StateSlot, blocks_for};

pub use admission::{Admission, QueueFull};

/// Names a sequence. Ids grow in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Names a client, among which prompt tokens are shared fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Whom a request may delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// Yields prompt tokens, places and memory to interactive requests.
    Background,
}

/// The scheduler's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// KV blocks in the pool.
    pub blocks: u32,
    /// Sequences that may be in a batch at once.
    pub max_running: usize,
    /// Longest sequence in tokens, prompt and output together. One such sequence fits the pool.
    pub window: usize,
    /// Whether sequences share the blocks of equal prefixes.
    pub prefix_cache: bool,
    /// Recurrent-state slots for models that have such layers, else 0. These models reuse no prefix,
    /// since a KV block without the state at its end is of no use.
    pub state_slots: u32,
    /// Prompt tokens that a client may take per turn of the round robin.
    pub quantum: usize,
    /// Steps after which a background sequence that waits counts as interactive, so that a
    /// stream of interactive requests cannot starve it.
    pub patience: u64,
}

/// A sequence to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSequence {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Whose it is.
    pub client: ClientId,
    /// Its class.
    pub priority: Priority,
    /// Sequences share cached prefixes only within one salt.
    pub cache_salt: Option<String>,
    /// Whether logits of every prompt position are wanted. Such a sequence reads no cached prefix.
    pub prompt_logits: bool,
}

/// Why a sequence cannot be queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// There is nothing to compute.
    #[error("the prompt has no token; expected at least one")]
    Empty,
    /// It could never run.
    #[error("the prompt has {tokens} tokens and the window holds {window}; one must be left for the answer")]
    TooLong {
        /// Tokens in the prompt.
        tokens: usize,
        /// Tokens in the window.
        window: usize,
    },
}

/// A sequence's place in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceCache {
    /// KV blocks in order of position.
    pub blocks: Vec<BlockId>,
    /// The slot of its recurrent layers, if the model has such layers.
    pub state: Option<StateSlot>,
}

/// Which rows of logits an item wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// None: a chunk in the middle of a prompt.
    None,
    /// The last one, to sample from.
    Last,
    /// All of them, for the log-probabilities of the prompt.
    All,
}

/// The tokens that one sequence computes in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchItem {
    /// Whose tokens.
    pub id: SequenceId,
    /// Position of the first of them.
    pub start: usize,
    /// The token ids.
    pub tokens: Vec<u32>,
    /// Where its keys and values are; the blocks reach to the end of `tokens`.
    pub cache: SequenceCache,
    /// The wanted rows of logits.
    pub rows: Rows,
    /// Whether the last row is the one to sample from.
    pub samples: bool,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What to compute; every sequence occurs at most once.
    pub items: Vec<BatchItem>,
    /// Sequences that left the queue in this step, with the number of tokens found in the cache.
    pub admitted: Vec<(SequenceId, usize)>,
    /// Sequences that went back to the queue for want of memory.
    pub preempted: Vec<SequenceId>,
}

impl Batch {
    /// Tokens to compute.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.items.iter().map(|item| item.tokens.len()).sum()
    }
}

#[derive(Clone, Debug)]
struct Sequence {
    client: ClientId,
    priority: Priority,
    tokens: Vec<u32>,
    prompt: usize,
    prompt_logits: bool,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    cache: SequenceCache,
    /// The root hash and then the hash of each full block.
    hashes: Vec<BlockHash>,
    running: bool,
    /// Whether it has caught up once, so that what is left to compute is its own output.
    decoding: bool,
    queued_at: u64,
}

impl Sequence {
    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn extend_hashes(&mut self) {
        while self.hashes.len() <= self.tokens.len() / BLOCK_TOKENS {
            let end = self.hashes.len() * BLOCK_TOKENS;
            let parent = self.hashes[self.hashes.len() - 1];
            self.hashes.push(parent.child(&self.tokens[end - BLOCK_TOKENS..end]));
        }
    }
}

/// Counts of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sequences with a place in the batch.
    pub running: usize,
    /// Sequences in the queue, preempted ones included.
    pub waiting: usize,
    /// Blocks in use.
    pub used_blocks: usize,
    /// Blocks in the pool.
    pub total_blocks: usize,
    /// Sequences that only decode.
    pub decoding: usize,
}

/// Tokens granted in the step that is being put together.
type Grants = BTreeMap<SequenceId, usize>;

enum Turn {
    Took(usize),
    Idle,
    Stalled,
}

/// The state machine; see the module's documentation.
#[derive(Clone, Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    pool: BlockPool,
    free_states: Vec<StateSlot>,
    sequences: BTreeMap<SequenceId, Sequence>,
    /// Per class, the clients with prompt tokens to compute, in the order of their turns.
    rings: [VecDeque<ClientId>; 2],
    /// What is left of a client's turn, per class.
    deficits: BTreeMap<(Priority, ClientId), usize>,
    next_id: u64,
    step: u64,
}

impl Scheduler {
    /// An empty scheduler.
    ///
    /// # Panics
    /// If one full window does not fit the pool, or a limit is 0: the caller chose them.
    #[must_use]
    pub fn new(config: SchedulerConfig) -> Self {
        assert!(config.window > 1 && blocks_for(config.window) <= config.blocks as usize);
        assert!(config.max_running > 0 && config.quantum > 0);
        Self {
            pool: BlockPool::new(config.blocks),
            free_states: (0..config.state_slots).rev().map(StateSlot).collect(),
            sequences: BTreeMap::new(),
            rings: [VecDeque::new(), VecDeque::new()],
            deficits: BTreeMap::new(),
            next_id: 0,
            step: 0,
            config,
        }
    }

    /// Queues a sequence.
    ///
    /// # Errors
    /// If the prompt is empty or leaves no token of the window for output.
    pub fn submit(&mut self, new: NewSequence) -> Result<SequenceId, SequenceError> {
        if new.prompt.is_empty() {
            return Err(SequenceError::Empty);
        }
        if new.prompt.len() >= self.config.window {
            return Err(SequenceError::TooLong { tokens: new.prompt.len(), window: self.config.window });
        }
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.sequences.insert(
            id,
            Sequence {
                client: new.client,
                priority: new.priority,
                prompt: new.prompt.len(),
                tokens: new.prompt,
                prompt_logits: new.prompt_logits,
                computed: 0,
                cache: SequenceCache::default(),
                hashes: vec![BlockHash::root(new.cache_salt.as_deref())],
                running: false,
                decoding: false,
                queued_at: self.step,
            },
        );
        Ok(id)
    }

    /// Puts together the next step, of at most `budget` tokens.
    pub fn schedule(&mut self, budget: usize) -> Batch {
        self.step += 1;
        self.promote();
        self.refresh_rings();
        let mut batch = Batch::default();
        let mut grants = Grants::new();
        let mut left = budget;
        self.grant_decodes(&mut grants, &mut batch, &mut left);
        for class in [Priority::Interactive, Priority::Background] {
            self.grant_prompts(class, &mut grants, &mut batch, &mut left);
        }
        for (id, n) in grants {
            let seq = &self.sequences[&id];
            let end = seq.computed + n;
            let samples = end == seq.tokens.len();
            let rows = match (seq.prompt_logits && seq.computed < seq.prompt, samples) {
                (true, _) => Rows::All,
                (false, true) => Rows::Last,
                (false, false) => Rows::None,
            };
            batch.items.push(BatchItem {
                id,
                start: seq.computed,
                tokens: seq.tokens[seq.computed..end].to_vec(),
                cache: seq.cache.clone(),
                rows,
                samples,
            });
        }
        batch
    }

    /// Records that a batch has been computed, and publishes the blocks that it filled.
    pub fn complete(&mut self, batch: &Batch) {
        let share = self.shares_prefixes();
        for item in &batch.items {
            let Some(seq) = self.sequences.get_mut(&item.id) else { continue };
            seq.computed = item.start + item.tokens.len();
            seq.decoding |= seq.pending() == 0;
            if share {
                seq.extend_hashes();
                for block in item.start / BLOCK_TOKENS..seq.computed / BLOCK_TOKENS {
                    self.pool.publish(seq.cache.blocks[block], seq.hashes[block + 1]);
                }
            }
        }
    }

    /// Appends sampled tokens; several at once when a grammar leaves no choice. The caller keeps
    /// within the window. Unknown ids are ignored.
    pub fn append(&mut self, id: SequenceId, tokens: &[u32]) {
        if let Some(seq) = self.sequences.get_mut(&id) {
            seq.tokens.extend_from_slice(tokens);
            debug_assert!(seq.tokens.len() <= self.config.window);
        }
    }

    /// Removes a sequence, finished or cancelled, and frees what it holds at once. Unknown ids are
    /// ignored.
    pub fn finish(&mut self, id: SequenceId) {
        if let Some(seq) = self.sequences.remove(&id) {
            self.pool.release(&seq.cache.blocks);
            self.free_states.extend(seq.cache.state);
        }
    }

    /// Counts of the moment.
    #[must_use]
    pub fn load(&self) -> Load {
        let running = self.sequences.values().filter(|s| s.running).count();
        Load {
            running,
            waiting: self.sequences.len() - running,
            used_blocks: self.pool.total() - self.pool.free(),
            total_blocks: self.pool.total(),
            decoding: self.sequences.values().filter(|s| s.running && s.decoding).count(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Forgets cached prefixes that no sequence uses.
    pub fn reset_prefix_cache(&mut self) {
        self.pool.reset();
    }

    fn shares_prefixes(&self) -> bool {
        self.config.prefix_cache && self.config.state_slots == 0
    }

    fn promote(&mut self) {
        for seq in self.sequences.values_mut().filter(|s| !s.running) {
            if self.step - seq.queued_at > self.config.patience {
                seq.priority = Priority::Interactive;
            }
        }
    }

    /// Every client with prompt tokens to compute gets a place in its class's ring.
    fn refresh_rings(&mut self) {
        for seq in self.sequences.values().filter(|s| !s.running || !s.decoding) {
            let ring = &mut self.rings[seq.priority as usize];
            if !ring.contains(&seq.client) {
                ring.push_back(seq.client);
            }
        }
    }

    /// Running sequences that decode come first: interactive before background, older before newer.
    fn grant_decodes(&mut self, grants: &mut Grants, batch: &mut Batch, left: &mut usize) {
        let mut ids: Vec<_> = self
            .sequences
            .iter()
            .filter(|(_, s)| s.running && s.decoding && s.pending() > 0)
            .map(|(id, s)| (s.priority, *id))
            .collect();
        ids.sort_unstable();
        for (_, id) in ids {
            let seq = &self.sequences[&id];
            // An older sequence may have pushed this one out in the meantime.
            let n = if seq.running { seq.pending().min(*left) } else { 0 };
            if n > 0 {
                self.grant(id, n, grants, batch, left);
            }
        }
    }

    fn grant_prompts(&mut self, class: Priority, grants: &mut Grants, batch: &mut Batch, left: &mut usize) {
        let mut ring = std::mem::take(&mut self.rings[class as usize]);
        let mut admitting = true;
        let mut at = 0;
        while *left > 0 && at < ring.len() {
            let client = ring[at];
            match self.turn(class, client, &mut admitting, grants, batch, left) {
                Turn::Took(n) => {
                    let deficit = self.deficits.entry((class, client)).or_insert(0);
                    *deficit -= n;
                    if *deficit == 0 {
                        ring.remove(at);
                        ring.push_back(client);
                    }
                }
                Turn::Idle => {
                    ring.remove(at);
                    self.deficits.remove(&(class, client));
                }
                Turn::Stalled => at += 1,
            }
        }
        self.rings[class as usize] = ring;
    }

    /// Grants prompt tokens to a client's oldest sequence that has some to compute: one that runs, else
    /// one from the queue. When one from the queue does not fit, nobody after it is let in during
    /// this step, so that short prompts cannot overtake a long one for ever.
    fn turn(
        &mut self,
        class: Priority,
        client: ClientId,
        admitting: &mut bool,
        grants: &mut Grants,
        batch: &mut Batch,
        left: &mut usize,
    ) -> Turn {
        let wanted = |id: &SequenceId, s: &Sequence| {
            s.client == client && s.priority == class && s.pending() > grants.get(id).copied().unwrap_or(0)
        };
        let mut pick = None;
        let mut idle = true;
        for (id, seq) in &self.sequences {
            if !wanted(id, seq) || (seq.running && seq.decoding) {
                continue;
            }
            idle = false;
            if seq.running {
                pick = Some(*id);
                break;
            }
            if pick.is_none() && *admitting {
                pick = Some(*id);
            }
        }
        let Some(id) = pick else {
            return if idle { Turn::Idle } else { Turn::Stalled };
        };
        if !self.sequences[&id].running && !self.admit(id, batch, grants, left) {
            *admitting = false;
            return Turn::Stalled;
        }
        let deficit = self.deficits.entry((class, client)).or_insert(0);
        if *deficit == 0 {
            *deficit = self.config.quantum;
        }
        let pending = self.sequences[&id].pending() - grants.get(&id).copied().unwrap_or(0);
        let n = pending.min(*left).min(*deficit);
        match self.grant(id, n, grants, batch, left) {
            true => Turn::Took(n),
            false => Turn::Stalled,
        }
    }

    /// Gives a queued sequence a place, if its whole prompt fits beside what the running ones still need.
    fn admit(&mut self, id: SequenceId, batch: &mut Batch, grants: &mut Grants, left: &mut usize) -> bool {
        let (share, states) = (self.shares_prefixes(), self.config.state_slots > 0);
        let seq = self.sequences.get_mut(&id).expect("the caller picked a live sequence");
        seq.extend_hashes();
        // The last token is always computed, since its logits are wanted.
        let reusable = if share && !seq.prompt_logits { (seq.tokens.len() - 1) / BLOCK_TOKENS } else { 0 };
        let hashes = seq.hashes[1..=reusable].to_vec();
        let (wanted, interactive) = (blocks_for(seq.tokens.len()), seq.priority == Priority::Interactive);
        loop {
            let hits = self.pool.lookup(&hashes);
            let running = self.sequences.values().filter(|s| s.running);
            // Blocks for the rest of the running prompts, and one for each sequence that decodes.
            let promised: usize = running
                .clone()
                .map(|s| blocks_for(s.tokens.len() + 1).saturating_sub(s.cache.blocks.len()))
                .sum();
            let count = running.count();
            let idle_hits = hits.iter().filter(|b| self.pool.refs(**b) == 0).count();
            let fits = wanted - hits.len() + idle_hits + promised <= self.pool.free();
            let placed = count < self.config.max_running && (!states || !self.free_states.is_empty());
            if placed && (fits || count == 0) {
                self.pool.acquire(&hits);
                let state = if states { self.free_states.pop() } else { None };
                let seq = self.sequences.get_mut(&id).expect("still there");
                seq.running = true;
                seq.computed = hits.len() * BLOCK_TOKENS;
                batch.admitted.push((id, seq.computed));
                seq.cache = SequenceCache { blocks: hits, state };
                return true;
            }
            let background =
                self.sequences.iter().rev().find(|(_, s)| s.running && s.priority == Priority::Background);
            match background {
                Some((&victim, _)) if interactive => self.preempt(victim, grants, batch, left),
                _ => return false,
            }
        }
    }

    /// Allocates blocks for `n` more tokens and books them; preempts sequences of lower rank, at last
    /// this one itself, when there are not enough.
    fn grant(
        &mut self,
        id: SequenceId,
        n: usize,
        grants: &mut Grants,
        batch: &mut Batch,
        left: &mut usize,
    ) -> bool {
        let end = self.sequences[&id].computed + grants.get(&id).copied().unwrap_or(0) + n;
        while self.sequences[&id].cache.blocks.len() < blocks_for(end) {
            if let Some(block) = self.pool.allocate() {
                self.sequences.get_mut(&id).expect("live").cache.blocks.push(block);
                continue;
            }
            let last =
                self.sequences.iter().filter(|(_, s)| s.running).max_by_key(|(id, s)| (s.priority, **id));
            let victim = *last.expect("the sequence itself runs").0;
            self.preempt(victim, grants, batch, left);
            if victim == id {
                return false;
            }
        }
        *grants.entry(id).or_insert(0) += n;
        *left -= n;
        true
    }

    /// Sends a running sequence back to the queue. Its published blocks stay findable.
    fn preempt(&mut self, id: SequenceId, grants: &mut Grants, batch: &mut Batch, left: &mut usize) {
        *left += grants.remove(&id).unwrap_or(0);
        let seq = self.sequences.get_mut(&id).expect("only live sequences run");
        let cache = std::mem::take(&mut seq.cache);
        seq.running = false;
        seq.decoding = false;
        seq.computed = 0;
        seq.queued_at = self.step;
        self.pool.release(&cache.blocks);
        self.free_states.extend(cache.state);
        batch.admitted.retain(|(admitted, _)| *admitted != id);
        batch.preempted.push(id);
        let ring = &mut self.rings[self.sequences[&id].priority as usize];
        if !ring.contains(&self.sequences[&id].client) {
            ring.push_back(self.sequences[&id].client);
        }
    }
}
