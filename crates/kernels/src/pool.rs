//! A worker pool for operations of a few microseconds.
//!
//! One call of [`Pool::run`] is one operation with one barrier at its end. Tasks are claimed from
//! per-worker ranges, so that neighbouring panels stay on one core, and an idle worker steals from
//! the others. A worker that the system does not schedule in time never joins the operation and
//! holds nobody up. Idle workers spin for a while, then sleep.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::Error;

const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;
const SPINS_PER_LOOK: u32 = 32;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// How to build a [`Pool`].
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Threads that compute, the caller of [`Pool::run`] included. At least 1.
    pub threads: usize,
    /// Cores for the workers: worker `i` (1-based, the caller is 0 and is left alone) is bound to
    /// `pin[i % pin.len()]`. Empty: the system decides.
    pub pin: Vec<usize>,
    /// How long an idle worker spins before it sleeps.
    pub spin: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { threads: 1, pin: Vec::new(), spin: Duration::from_micros(50) }
    }
}

/// A fixed set of worker threads.
///
/// Results never depend on the number of threads or on who runs which task: every task writes its
/// own part of the output, and no kernel sums across tasks.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    gate: Mutex<()>,
}

struct Shared {
    /// Operation number (high 32 bits), open flag, count of workers inside.
    state: AtomicU64,
    job: UnsafeCell<Job>,
    ranges: Vec<TaskRange>,
    sleeping: Vec<AtomicBool>,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
    shutdown: AtomicBool,
    spin: Duration,
}

struct Job {
    call: *const (dyn Fn(usize) + Sync),
    caller: Option<Thread>,
}

#[repr(align(128))]
#[derive(Default)]
struct TaskRange {
    next: AtomicUsize,
    end: AtomicUsize,
}

// SAFETY: `job` is written only by the caller that holds `gate`, while no worker is inside (closed
// and active count zero), and read only by workers that joined an open operation.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is never used outside an open operation.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` (the caller counts as one), not pinned.
    ///
    /// # Errors
    /// [`Error::Threads`] when a thread cannot be started.
    pub fn new(threads: usize) -> Result<Self, Error> {
        Self::with_options(PoolOptions { threads, ..PoolOptions::default() })
    }

    /// A pool by `options`.
    ///
    /// # Errors
    /// [`Error::Threads`] when a thread cannot be started or bound to its core.
    pub fn with_options(options: PoolOptions) -> Result<Self, Error> {
        let threads = options.threads.max(1);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { call: &|_| {}, caller: None }),
            ranges: (0..threads).map(|_| TaskRange::default()).collect(),
            sleeping: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            panicked: Mutex::new(None),
            shutdown: AtomicBool::new(false),
            spin: options.spin,
        });
        let mut pool = Self { shared, workers: Vec::new(), gate: Mutex::new(()) };
        for me in 1..threads {
            let core = (!options.pin.is_empty()).then(|| options.pin[me % options.pin.len()]);
            pool.start(me, core)?;
        }
        Ok(pool)
    }

    fn start(&mut self, me: usize, core: Option<usize>) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let (tell, told) = std::sync::mpsc::channel();
        let worker = std::thread::Builder::new()
            .name(format!("chela-worker-{me}"))
            .spawn(move || {
                let bound = core.map_or(Ok(()), bind);
                let go = bound.is_ok();
                if tell.send(bound).is_ok() && go {
                    shared.work(me);
                }
            })
            .map_err(|e| Error::Threads { reason: e.to_string() })?;
        self.workers.push(worker);
        told.recv().map_err(|e| Error::Threads { reason: e.to_string() })?
    }

    /// Threads that compute, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.ranges.len()
    }

    /// Calls `task(i)` once for every `i` below `tasks`, on any thread and in any order, and
    /// returns when all are done. Concurrent calls take turns; a call from inside a task runs on
    /// the calling thread alone.
    ///
    /// # Panics
    /// When a task panics; all workers have left the operation by then.
    pub fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        let threads = self.threads();
        if threads == 1 || tasks <= 1 || INSIDE.get() {
            for i in 0..tasks {
                task(i);
            }
            return;
        }
        let _turn = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        for (w, range) in shared.ranges.iter().enumerate() {
            range.next.store(tasks * w / threads, Ordering::Relaxed);
            range.end.store(tasks * (w + 1) / threads, Ordering::Relaxed);
        }
        let call: &(dyn Fn(usize) + Sync) = &task;
        // SAFETY: only the lifetime changes. Workers use the reference between joining and leaving
        // the operation, and this function returns after the last of them has left.
        let call: *const (dyn Fn(usize) + Sync) =
            unsafe { std::mem::transmute::<_, *const (dyn Fn(usize) + Sync + 'static)>(call) };
        // SAFETY: this thread holds `gate` and the operation is closed with nobody inside.
        unsafe { *shared.job.get() = Job { call, caller: Some(std::thread::current()) } };
        let number = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        shared.state.store(number << 32 | OPEN, Ordering::SeqCst);
        for (worker, asleep) in self.workers.iter().zip(&shared.sleeping[1..]).take(tasks - 1) {
            if asleep.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        shared.drain(0, &task);
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        shared.wait_until_left();
        let panicked = shared.panicked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }
}

impl Shared {
    /// Runs own tasks, then what is left of the others'. A panic is kept for the caller.
    fn drain(&self, me: usize, task: &(dyn Fn(usize) + Sync)) {
        let was = INSIDE.replace(true);
        let threads = self.ranges.len();
        let result = catch_unwind(AssertUnwindSafe(|| {
            for victim in (me..threads).chain(0..me) {
                let range = &self.ranges[victim];
                let end = range.end.load(Ordering::Relaxed);
                while range.next.load(Ordering::Relaxed) < end {
                    let i = range.next.fetch_add(1, Ordering::Relaxed);
                    if i < end {
                        task(i);
                    }
                }
            }
        }));
        INSIDE.set(was);
        if let Err(payload) = result {
            *self.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
    }

    fn wait_until_left(&self) {
        let start = Instant::now();
        while self.state.load(Ordering::Acquire) & ACTIVE != 0 {
            if start.elapsed() < self.spin {
                spin();
            } else {
                // The last worker unparks this thread; the timeout covers nothing but a stale token.
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    fn work(&self, me: usize) {
        let mut seen = 0;
        while let Some(number) = self.join(me, seen) {
            // SAFETY: this worker has joined an open operation, so the job is set and stays.
            let (call, caller) = unsafe {
                let job = &*self.job.get();
                (&*job.call, job.caller.clone())
            };
            self.drain(me, call);
            seen = number;
            let before = self.state.fetch_sub(1, Ordering::AcqRel);
            if before & (OPEN | ACTIVE) == 1
                && let Some(caller) = caller
            {
                caller.unpark();
            }
        }
    }

    /// Waits for an operation other than `seen` and enters it; `None` at shutdown.
    fn join(&self, me: usize, seen: u64) -> Option<u64> {
        let mut idle_since = Instant::now();
        loop {
            if self.shutdown.load(Ordering::SeqCst) {
                return None;
            }
            let state = self.state.load(Ordering::SeqCst);
            if state & OPEN != 0 && state >> 32 != seen {
                if self
                    .state
                    .compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
                {
                    return Some(state >> 32);
                }
            } else if idle_since.elapsed() < self.spin {
                spin();
            } else {
                self.sleeping[me].store(true, Ordering::SeqCst);
                let state = self.state.load(Ordering::SeqCst);
                let work = state & OPEN != 0 && state >> 32 != seen;
                if !work && !self.shutdown.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.sleeping[me].store(false, Ordering::SeqCst);
                idle_since = Instant::now();
            }
        }
    }
}

fn spin() {
    for _ in 0..SPINS_PER_LOOK {
        std::hint::spin_loop();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Tasks' panics are caught, so a worker ends normally.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

/// Binds the calling thread to `core`.
#[cfg(target_os = "linux")]
fn bind(core: usize) -> Result<(), Error> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(Error::Threads { reason: format!("core {core} is out of range") });
    }
    // SAFETY: an all-zero cpu_set_t is the empty set, and `core` is below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: `set` is a valid set of the size given; 0 means the calling thread.
    if unsafe { libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set) } != 0 {
        let e = std::io::Error::last_os_error();
        return Err(Error::Threads { reason: format!("cannot bind a worker to core {core}: {e}") });
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn bind(_core: usize) -> Result<(), Error> {
    Err(Error::Threads { reason: "binding workers to cores is possible on Linux only".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} {tasks}");
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let options = PoolOptions { threads: 3, spin: Duration::ZERO, ..PoolOptions::default() };
        let pool = Pool::with_options(options).unwrap();
        for _ in 0..200 {
            let sum = AtomicUsize::new(0);
            pool.run(10, |i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 45);
        }
    }

    #[test]
    fn nested_runs_stay_on_their_thread() {
        let pool = Pool::new(2).unwrap();
        let sum = AtomicUsize::new(0);
        pool.run(4, |_| {
            pool.run(4, |i| {
                sum.fetch_add(i, Ordering::Relaxed);
            })
        });
        assert_eq!(sum.into_inner(), 24);
    }

    #[test]
    fn callers_take_turns() {
        let pool = Pool::new(3).unwrap();
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..100 {
                        let sum = AtomicUsize::new(0);
                        pool.run(8, |i| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 28);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(8, |i| assert_ne!(i, 5))));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(8, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_impossible_core_is_an_error() {
        let options = PoolOptions { threads: 2, pin: vec![100_000], ..PoolOptions::default() };
        assert!(Pool::with_options(options).is_err());
    }
}
