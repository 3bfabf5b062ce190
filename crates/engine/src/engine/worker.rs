//! The engine's thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::inbox::{Inbox, Job};
use super::live::{Live, Setup};
use super::options::EngineOptions;
use super::stats::Stats;
use super::stream::{Delta, FinishReason, Sender, lock};
use crate::block::BLOCK_TOKENS;
use crate::grammar::GrammarError;
use crate::model::{KvStore, Model};
use crate::sampler::{Sampled, mix};
use crate::scheduler::{Batch, ClientId, NewSequence, Rows, Scheduler, SequenceId};

/// Prompt tokens of the first step, before anything was measured.
const FIRST_CHUNK: usize = 64;

pub(super) struct Worker {
    model: Model,
    cache: KvStore,
    scheduler: Scheduler,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    live: BTreeMap<SequenceId, Live>,
    stats: Stats,
    target: Duration,
    batch_tokens: usize,
    seed: u64,
    requests: u64,
}

/// What a step's rows of logits became.
type Choices = BTreeMap<SequenceId, Result<Option<Sampled>, GrammarError>>;

impl Worker {
    pub(super) fn new(
        model: Model,
        cache: KvStore,
        scheduler: Scheduler,
        shared: Arc<Shared>,
        inbox: Arc<Inbox>,
        options: &EngineOptions,
    ) -> Self {
        Self {
            model,
            cache,
            scheduler,
            shared,
            inbox,
            live: BTreeMap::new(),
            stats: Stats::default(),
            target: options.step_target,
            batch_tokens: options.batch_tokens(),
            seed: options.seed,
            requests: 0,
        }
    }

    /// Works until the inbox is stopped.
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.inbox.take(self.scheduler.is_empty()) {
            for job in jobs {
                self.admit(job);
            }
            self.cancel();
            if !self.scheduler.is_empty()
                && let Err(error) = self.step()
            {
                self.fail_all(&error.to_string());
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.stats.load = self.scheduler.load();
        lock(&self.shared.stats).clone_from(&self.stats);
    }

    fn admit(&mut self, job: Job) {
        let request = Arc::new(job.request);
        let key = match request.params.seed {
            Some(seed) => seed,
            None => mix(self.seed ^ mix(self.requests)),
        };
        self.requests += 1;
        let mut matchers = job.matchers.into_iter();
        for index in 0..request.params.n {
            let new = NewSequence {
                prompt: request.prompt.clone(),
                client: client(&request.client),
                priority: request.priority,
                cache_salt: request.cache_salt.clone(),
                prompt_logits: Live::wants_prompt(&request, index),
            };
            let setup = Setup {
                tokenizer: &self.shared.tokenizer,
                eos: self.shared.info.specials.eos,
                ends: &self.shared.info.defaults.stop_token_ids,
                window: self.shared.info.sizing.window,
                bad_words: job.bad_words.clone(),
                matcher: matchers.next(),
                sender: job.sender.clone(),
                submitted: job.submitted,
                key: key.wrapping_add(index as u64),
                kernels: self.model.kernels(),
            };
            match self.scheduler.submit(new) {
                Ok(id) => {
                    self.live.insert(id, Live::new(request.clone(), index, setup));
                }
                Err(error) => {
                    self.inbox.leave(request.prompt.len());
                    job.sender.fail(&error.to_string());
                }
            }
        }
    }

    /// Removes the sequences whose readers went away.
    fn cancel(&mut self) {
        let gone: Vec<_> =
            self.live.iter().filter(|(_, live)| live.sender.abandoned()).map(|(id, _)| *id).collect();
        for id in gone {
            self.remove(id);
            self.stats.cancelled += 1;
        }
    }

    fn remove(&mut self, id: SequenceId) {
        self.scheduler.finish(id);
        if let Some(mut live) = self.live.remove(&id)
            && live.start(0)
        {
            self.inbox.leave(live.request.prompt.len());
        }
    }

    fn step(&mut self) -> Result<(), chela_kernels::Error> {
        let began = Instant::now();
        let batch = self.scheduler.schedule(self.budget());
        for (id, cached) in &batch.admitted {
            if let Some(live) = self.live.get_mut(id)
                && live.start(*cached)
            {
                self.inbox.leave(live.request.prompt.len());
                self.stats.prompt_tokens += live.request.prompt.len() as u64;
                self.stats.cached_tokens += *cached as u64;
            }
        }
        self.stats.preemptions += batch.preempted.len() as u64;
        let mut choices = Choices::new();
        let live = &mut self.live;
        self.model.forward(&batch, &mut self.cache, &mut |item, row, logits| {
            let item = &batch.items[item];
            let Some(live) = live.get_mut(&item.id) else { return };
            if item.rows == Rows::All {
                live.prompt_row(item.start + row, logits);
            }
            if item.samples && row + 1 == item.tokens.len() {
                choices.insert(item.id, live.sample(logits));
            }
        })?;
        self.scheduler.complete(&batch);
        self.report_progress(&batch);
        let news: Vec<_> = choices.into_iter().filter_map(|(id, choice)| self.settle(id, choice)).collect();
        self.measure(&batch, began.elapsed());
        // Who has read an end finds it in the counts as well.
        self.publish();
        for (sender, delta) in news {
            sender.delta(delta);
        }
        Ok(())
    }

    /// Tokens of the next step: all that decode, and as many prompt tokens as fit the target time.
    fn budget(&self) -> usize {
        let per_token = self.stats.seconds_per_prompt_token;
        let chunk = match per_token > 0.0 {
            true => (self.target.as_secs_f64() / per_token) as usize,
            false => FIRST_CHUNK,
        };
        (self.scheduler.load().decoding + chunk.max(BLOCK_TOKENS)).min(self.batch_tokens)
    }

    fn measure(&mut self, batch: &Batch, took: Duration) {
        let tokens = batch.tokens();
        let sampled = batch.items.iter().filter(|i| i.samples).count();
        self.stats.steps += 1;
        self.stats.busy += took;
        self.stats.prefilled_tokens += (tokens - sampled) as u64;
        if tokens >= BLOCK_TOKENS {
            let now = took.as_secs_f64() / tokens as f64;
            let before = self.stats.seconds_per_prompt_token;
            self.stats.seconds_per_prompt_token = if before > 0.0 { 0.7 * before + 0.3 * now } else { now };
        }
    }

    /// Tells readers how far their prompts are.
    fn report_progress(&self, batch: &Batch) {
        for item in &batch.items {
            if let Some(live) = self.live.get(&item.id) {
                let (done, total) = (item.start + item.tokens.len(), live.request.prompt.len());
                if live.index == 0 && item.start < total {
                    live.sender.prompt(done.min(total), total, live.cached);
                }
            }
        }
    }

    /// Takes a choice into its sequence and the scheduler; answers what its reader is to get.
    fn settle(
        &mut self,
        id: SequenceId,
        choice: Result<Option<Sampled>, GrammarError>,
    ) -> Option<(Sender, Delta)> {
        let live = self.live.get_mut(&id)?;
        let sender = live.sender.clone();
        let delta = match choice.and_then(|sampled| live.accept(sampled)) {
            Ok(delta) => delta,
            Err(error) => {
                sender.fail(&error.to_string());
                self.stats.failed += 1;
                self.remove(id);
                return None;
            }
        };
        self.stats.generated_tokens += delta.tokens.len() as u64;
        match &delta.finish {
            None => self.scheduler.append(id, &delta.tokens),
            Some((reason, _)) => {
                match reason {
                    FinishReason::Length => self.stats.finished_length += 1,
                    _ => self.stats.finished_stop += 1,
                }
                self.remove(id);
            }
        }
        Some((sender, delta))
    }

    fn fail_all(&mut self, reason: &str) {
        let ids: Vec<_> = self.live.keys().copied().collect();
        for id in ids {
            if let Some(live) = self.live.get(&id) {
                live.sender.fail(reason);
            }
            self.remove(id);
            self.stats.failed += 1;
        }
    }
}

impl Drop for Worker {
    /// At the end, and when a defect unwinds the thread, no reader is left waiting.
    fn drop(&mut self) {
        self.inbox.stop();
        for live in self.live.values() {
            live.sender.fail("the engine stopped");
        }
    }
}

/// The number of a client's name (FNV-1a).
fn client(name: &str) -> ClientId {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    ClientId(name.bytes().fold(0xCBF2_9CE4_8422_2325, step))
}
