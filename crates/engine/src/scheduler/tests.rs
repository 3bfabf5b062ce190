use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn config(blocks: u32, max_running: usize) -> SchedulerConfig {
    SchedulerConfig {
        blocks,
        max_running,
        window: blocks as usize * BLOCK_TOKENS,
        prefix_cache: true,
        state_slots: 0,
        quantum: 128,
        patience: 200,
    }
}

fn sequence(client: u64, prompt: Vec<u32>) -> NewSequence {
    NewSequence {
        prompt,
        client: ClientId(client),
        priority: Priority::Interactive,
        cache_salt: None,
        prompt_logits: false,
    }
}

/// Checks everything that must hold between steps.
fn check(s: &Scheduler) {
    let mut refs = vec![0; s.pool.total()];
    let mut states = vec![];
    for seq in s.sequences.values() {
        assert!(seq.running || (seq.cache.blocks.is_empty() && seq.cache.state.is_none()));
        assert!(seq.computed <= seq.cache.blocks.len() * BLOCK_TOKENS);
        seq.cache.blocks.iter().for_each(|b| refs[b.0 as usize] += 1);
        states.extend(seq.cache.state);
    }
    for (i, expected) in refs.iter().enumerate() {
        assert_eq!(s.pool.refs(BlockId(i as u32)), *expected, "block {i}");
    }
    assert_eq!(s.pool.free(), refs.iter().filter(|r| **r == 0).count());
    states.extend(&s.free_states);
    states.sort_unstable();
    assert_eq!(states, (0..s.config.state_slots).map(StateSlot).collect::<Vec<_>>());
    assert!(s.load().running <= s.config.max_running);
}

/// What each KV position holds, so that a read of a wrong or missing block shows.
struct FakeCache(Vec<Vec<u64>>);

impl FakeCache {
    /// "Computes" an item: each position's value is a hash of every token up to it, and each earlier
    /// position must already hold its own.
    fn compute(&mut self, item: &BatchItem, all: &[u32]) {
        let mut hash = 17u64;
        for (pos, token) in all[..item.start + item.tokens.len()].iter().enumerate() {
            hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(*token) + 1);
            let cell = &mut self.0[item.cache.blocks[pos / BLOCK_TOKENS].0 as usize][pos % BLOCK_TOKENS];
            if pos >= item.start {
                *cell = hash;
            }
        }
        let mut hash = 17u64;
        for (pos, token) in all[..item.start + item.tokens.len()].iter().enumerate() {
            hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(*token) + 1);
            let cell = self.0[item.cache.blocks[pos / BLOCK_TOKENS].0 as usize][pos % BLOCK_TOKENS];
            assert_eq!(cell, hash, "position {pos} of {:?}", item.id);
        }
    }
}

#[derive(Clone, Debug)]
struct Job {
    at: usize,
    client: u64,
    background: bool,
    family: u32,
    prompt: usize,
    output: usize,
    cancel_after: Option<usize>,
    prompt_logits: bool,
}

fn job(window: usize) -> impl Strategy<Value = Job> {
    (
        0usize..60,
        0u64..4,
        any::<bool>(),
        0u32..3,
        1..window,
        1usize..80,
        proptest::option::weighted(0.2, 0usize..60),
        0u32..8,
    )
        .prop_map(move |(at, client, background, family, prompt, output, cancel_after, logits)| Job {
            at,
            client,
            background,
            family,
            prompt,
            output: output.min(window - prompt),
            cancel_after,
            prompt_logits: logits == 0,
        })
}

struct Live {
    job: usize,
    tokens: Vec<u32>,
    produced: usize,
    prompt_rows: usize,
}

/// Runs jobs to the end; answers the output of each job that was not cancelled and the steps needed.
fn run(config: SchedulerConfig, budgets: &[usize], jobs: &[Job]) -> (BTreeMap<usize, usize>, usize) {
    let mut s = Scheduler::new(config.clone());
    let mut cache = FakeCache(vec![vec![0; BLOCK_TOKENS]; config.blocks as usize]);
    let mut live: BTreeMap<SequenceId, Live> = BTreeMap::new();
    let mut done = BTreeMap::new();
    let mut step = 0;
    while step < 60 || !s.is_empty() {
        assert!(step < 100_000, "somebody starves");
        for (i, job) in jobs.iter().enumerate().filter(|(_, j)| j.at == step) {
            // Jobs of a family share their prefix.
            let tokens: Vec<u32> = (0..job.prompt as u32).map(|t| t * (job.family + 1)).collect();
            let mut new = sequence(job.client, tokens.clone());
            new.priority = if job.background { Priority::Background } else { Priority::Interactive };
            new.prompt_logits = job.prompt_logits;
            live.insert(s.submit(new).unwrap(), Live { job: i, tokens, produced: 0, prompt_rows: 0 });
        }
        let cancelled: Vec<_> = live
            .iter()
            .filter(|(_, l)| jobs[l.job].cancel_after.is_some_and(|n| step >= jobs[l.job].at + n))
            .map(|(id, _)| *id)
            .collect();
        for id in cancelled {
            s.finish(id);
            live.remove(&id);
        }
        check(&s);
        let budget = budgets[step % budgets.len()];
        let batch = s.schedule(budget);
        assert!(batch.tokens() <= budget);
        assert!(!batch.items.is_empty() || s.is_empty(), "a step without work while somebody waits");
        for item in &batch.items {
            let l = &live[&item.id];
            assert_eq!(item.tokens, l.tokens[item.start..item.start + item.tokens.len()]);
            assert_eq!(item.cache.state.is_some(), config.state_slots > 0);
            cache.compute(item, &l.tokens);
        }
        s.complete(&batch);
        check(&s);
        for item in &batch.items {
            let l = live.get_mut(&item.id).unwrap();
            if item.rows == Rows::All && item.start <= l.prompt_rows {
                l.prompt_rows = l.prompt_rows.max(item.start + item.tokens.len());
            }
            if !item.samples {
                continue;
            }
            l.produced += 1;
            if l.produced == jobs[l.job].output {
                assert!(!jobs[l.job].prompt_logits || l.prompt_rows >= jobs[l.job].prompt);
                done.insert(l.job, l.produced);
                s.finish(item.id);
                live.remove(&item.id);
            } else {
                let token = 1000 + l.produced as u32;
                l.tokens.push(token);
                s.append(item.id, &[token]);
            }
        }
        step += 1;
    }
    assert_eq!(s.pool.free(), s.pool.total(), "a block leaked");
    (done, step)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_traces_finish_within_the_budget_and_leak_nothing(
        blocks in 4u32..24,
        max_running in 1usize..8,
        budgets in prop::collection::vec(8usize..200, 1..4),
        jobs in prop::collection::vec(job(4 * BLOCK_TOKENS), 1..24),
        states in any::<bool>(),
        prefix_cache in any::<bool>(),
    ) {
        let mut config = config(blocks, max_running);
        config.prefix_cache = prefix_cache;
        if states {
            config.state_slots = max_running as u32;
        }
        let (done, _) = run(config, &budgets, &jobs);
        for (i, job) in jobs.iter().enumerate().filter(|(_, j)| j.cancel_after.is_none()) {
            prop_assert_eq!(done.get(&i), Some(&job.output), "job {} is incomplete", i);
        }
    }
}

/// Runs one step and lets each sequence that samples append a token.
fn step(s: &mut Scheduler, budget: usize) -> Batch {
    let batch = s.schedule(budget);
    s.complete(&batch);
    for item in batch.items.iter().filter(|i| i.samples) {
        s.append(item.id, &[1]);
    }
    batch
}

fn shares(batch: &Batch) -> Vec<(u64, usize)> {
    batch.items.iter().map(|i| (i.id.0, i.tokens.len())).collect()
}

#[test]
fn a_prompt_is_computed_in_chunks_beside_decoding_sequences() {
    let mut s = Scheduler::new(config(32, 4));
    s.submit(sequence(0, vec![5; 20])).unwrap();
    assert_eq!(shares(&step(&mut s, 64)), [(0, 20)]);
    s.submit(sequence(1, vec![6; 100])).unwrap();
    assert_eq!(shares(&step(&mut s, 64)), [(0, 1), (1, 63)]);
    assert_eq!((s.load().running, s.load().decoding), (2, 1));
    let batch = step(&mut s, 64);
    assert_eq!(shares(&batch), [(0, 1), (1, 37)]);
    assert_eq!(batch.items[1].rows, Rows::Last);
}

#[test]
fn eight_full_windows_on_a_cache_for_two_all_finish() {
    let jobs: Vec<Job> = (0..8)
        .map(|i| Job {
            at: 0,
            client: i % 2,
            background: false,
            family: i as u32 % 3,
            prompt: 100,
            output: 156,
            cancel_after: None,
            prompt_logits: false,
        })
        .collect();
    let mut config = config(16, 8);
    config.window = 256;
    let (done, _) = run(config, &[64], &jobs);
    assert_eq!(done.len(), 8);
}

#[test]
fn an_interactive_prompt_goes_before_a_background_one_that_is_under_way() {
    let mut s = Scheduler::new(config(64, 4));
    let mut heartbeat = sequence(0, vec![5; 1500]);
    heartbeat.priority = Priority::Background;
    s.submit(heartbeat).unwrap();
    assert_eq!(shares(&step(&mut s, 64)), [(0, 64)]);
    s.submit(sequence(1, vec![6; 100])).unwrap();
    assert_eq!(shares(&step(&mut s, 64)), [(1, 64)]);
    assert_eq!(shares(&step(&mut s, 64)), [(0, 28), (1, 36)]);
}

#[test]
fn an_interactive_prompt_takes_the_memory_of_a_background_one() {
    let mut s = Scheduler::new(config(16, 4));
    let mut heartbeat = sequence(0, vec![5; 400]);
    heartbeat.priority = Priority::Background;
    s.submit(heartbeat).unwrap();
    step(&mut s, 512);
    s.submit(sequence(1, vec![6; 300])).unwrap();
    let batch = step(&mut s, 512);
    assert_eq!(batch.preempted, [SequenceId(0)]);
    assert!(shares(&batch).contains(&(1, 300)));
}

#[test]
fn a_preemption_takes_back_no_other_admission_of_the_step() {
    let mut s = Scheduler::new(config(16, 4));
    let mut heartbeat = sequence(0, vec![5; 400]);
    heartbeat.priority = Priority::Background;
    s.submit(heartbeat).unwrap();
    step(&mut s, 512);
    let small = s.submit(sequence(1, vec![6; 40])).unwrap();
    let large = s.submit(sequence(2, vec![7; 300])).unwrap();
    let batch = step(&mut s, 512);
    assert_eq!(batch.preempted, [SequenceId(0)]);
    assert_eq!(batch.admitted, [(small, 0), (large, 0)]);
}

#[test]
fn patience_ends_after_its_steps_and_not_before() {
    let mut config = config(16, 1);
    config.patience = 3;
    let mut s = Scheduler::new(config);
    s.submit(sequence(0, vec![5; 8])).unwrap();
    step(&mut s, 64);
    step(&mut s, 64);
    let mut heartbeat = sequence(1, vec![6; 8]);
    heartbeat.priority = Priority::Background;
    let id = s.submit(heartbeat).unwrap();
    let classes: Vec<_> = (0..5)
        .map(|_| {
            step(&mut s, 64);
            s.sequences[&id].priority
        })
        .collect();
    assert_eq!(classes[..3], [Priority::Background; 3]);
    assert_eq!(classes[3..], [Priority::Interactive; 2]);
}

#[test]
fn a_background_sequence_is_served_at_last_under_endless_interactive_load() {
    let mut s = Scheduler::new(config(64, 2));
    let mut heartbeat = sequence(0, vec![5; 100]);
    heartbeat.priority = Priority::Background;
    let id = s.submit(heartbeat).unwrap();
    for i in 0..1000 {
        s.submit(sequence(1, vec![i; 64])).unwrap();
        let batch = s.schedule(64);
        s.complete(&batch);
        for item in batch.items.iter().filter(|i| i.samples) {
            if item.id == id {
                return;
            }
            s.finish(item.id);
        }
    }
    panic!("the background sequence starves");
}

#[test]
fn clients_share_prompt_tokens_whatever_they_queue() {
    let mut s = Scheduler::new(config(256, 16));
    for i in 0..8 {
        s.submit(sequence(0, vec![i; 500])).unwrap();
    }
    step(&mut s, 64);
    s.submit(sequence(1, vec![99; 100])).unwrap();
    // At most one turn of 128 tokens of the busy client lies before the short prompt.
    let steps = (1..20).find(|_| step(&mut s, 64).items.iter().any(|i| i.id.0 == 8 && i.samples));
    assert!(steps.unwrap() <= 4, "{steps:?}");
}

#[test]
fn a_shared_prefix_is_computed_once_and_salts_keep_it_apart() {
    let mut s = Scheduler::new(config(32, 4));
    let prompt: Vec<u32> = (0..96).collect();
    s.submit(sequence(0, prompt.clone())).unwrap();
    step(&mut s, 512);
    let same = s.submit(sequence(1, prompt.clone())).unwrap();
    let mut salted = sequence(2, prompt.clone());
    salted.cache_salt = Some("tenant".into());
    let salted = s.submit(salted).unwrap();
    let mut scored = sequence(3, prompt);
    scored.prompt_logits = true;
    let scored = s.submit(scored).unwrap();
    let batch = step(&mut s, 512);
    // The last block is computed again, since its last row is wanted.
    assert_eq!(batch.admitted, [(same, 64), (salted, 0), (scored, 0)]);
    assert_eq!(batch.items.last().unwrap().rows, Rows::All);
}

#[test]
fn prefixes_are_shared_where_they_may_be_and_until_the_cache_is_reset() {
    let shared = |config: SchedulerConfig, reset: bool| {
        let mut s = Scheduler::new(config);
        let prompt: Vec<u32> = (0..96).collect();
        let first = s.submit(sequence(0, prompt.clone())).unwrap();
        step(&mut s, 512);
        s.finish(first);
        if reset {
            s.reset_prefix_cache();
        }
        s.submit(sequence(0, prompt)).unwrap();
        step(&mut s, 512).admitted[0].1
    };
    assert_eq!(shared(config(32, 4), false), 64);
    assert_eq!(shared(config(32, 4), true), 0);
    assert_eq!(shared(SchedulerConfig { prefix_cache: false, ..config(32, 4) }, false), 0);
    // A recurrent state cannot be taken up in the middle.
    assert_eq!(shared(SchedulerConfig { state_slots: 4, ..config(32, 4) }, false), 0);
}

#[test]
fn cancelling_frees_everything_before_the_next_step() {
    let mut s = Scheduler::new(config(8, 4));
    let id = s.submit(sequence(0, vec![1; 200])).unwrap();
    step(&mut s, 64);
    s.finish(id);
    assert_eq!(s.load(), Load { total_blocks: 8, ..Load::default() });
    assert!(step(&mut s, 64).items.is_empty());
}

#[test]
fn prompts_that_can_never_run_are_refused() {
    let mut s = Scheduler::new(config(4, 4));
    assert_eq!(s.submit(sequence(0, vec![])), Err(SequenceError::Empty));
    assert_eq!(s.submit(sequence(0, vec![1; 128])), Err(SequenceError::TooLong { tokens: 128, window: 128 }));
    s.submit(sequence(0, vec![1; 127])).unwrap();
}
