//! The builder of a watch: its settings, and how it starts.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Watch;
use crate::error::Error;
use crate::export::text::Style;
use crate::inprocess::self_check::Seen;
use crate::inprocess::{WatchState, run_local_set, self_check};
use crate::model::own_thread;
use crate::model::stall::StallEvent;
use crate::process::{LocalWorkers, LocalWorkersConfig};
use crate::program_path::ProgramPath;
use crate::report::{Audience, Callback, News, Printing, QUEUE, Reporter, Sinks, StallLog, check_watchdog, summary};
use crate::stalls::{DEFAULT_THRESHOLD, SMALLEST_THRESHOLD, Watchdog};
use crate::symbols::Symbolizer;
use crate::sys::{self, Process, StackSignal, ThreadProbe};
use crate::threads::spawn_thread;
use crate::unwind::{PollFrames, Unwinder};

/// Time for the lines of the self-check to be printed before the program's own first lines.
const CHECK_LIMIT: Duration = Duration::from_millis(500);

/// The limit on the wait for a thread to start.
const THREAD_START: Duration = Duration::from_secs(1);

/// Where reports are printed; see [`WatchBuilder::print`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Print {
    /// To standard error, unless a `tracing` subscriber takes the events of the target `holdup::stall`. So each report is
    /// seen once. It also goes to standard error while that subscriber does not return from an earlier event.
    #[default]
    Auto,
    /// To standard error, beside the `tracing` events.
    Always,
    /// Nowhere. Stalls remain `tracing` events and entries of the history.
    Never,
}

/// The settings of a [`Watch`]; made by [`Watch::builder`].
///
/// ```
/// use std::time::Duration;
/// use holdup::Print;
///
/// let watch = holdup::Watch::builder()
///     .threshold(Duration::from_millis(5))
///     .print(Print::Always)
///     .on_stall(|event| eprintln!("{} {:?}", event.phase, event.stall.duration))
///     .start()?;
/// # Ok::<(), holdup::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct WatchBuilder {
    threshold: Option<Duration>,
    print: Print,
    signal: Option<i32>,
    callback: Option<Callback>,
    user_crates: Vec<String>,
    #[cfg(feature = "heap")]
    heap: Option<crate::heap::Sampling>,
    #[cfg(feature = "heap")]
    jemalloc: Option<crate::heap::JemallocProfile>,
    #[cfg(feature = "heap")]
    heap_peak: Option<std::path::PathBuf>,
    #[cfg(feature = "http")]
    pub(super) endpoint: crate::http::Settings,
}

impl std::fmt::Debug for WatchBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchBuilder")
            .field("threshold", &self.threshold)
            .field("print", &self.print)
            .finish_non_exhaustive()
    }
}

impl WatchBuilder {
    /// The threshold: a longer poll is a stall. The default is 10 ms, the minimum 1 ms.
    #[must_use]
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.threshold = Some(threshold);
        self
    }

    /// Where reports are printed. The default is standard error, unless a `tracing` subscriber takes the events.
    ///
    /// A thread of holdup's prints, so a standard error that nobody reads holds nothing else up. Reports that find no room
    /// are counted in [`Counters::unprinted`](crate::stall::Counters::unprinted).
    #[must_use]
    pub fn print(mut self, print: Print) -> Self {
        self.print = print;
        self
    }

    /// Calls a function for every phase of every stall: when it is noticed, when its stack was captured again, and when
    /// it has ended. The rate limit of printed reports does not apply.
    ///
    /// The callback runs on a thread of holdup's, in the order of the events. While it does not return, 256 events wait,
    /// and [`Counters::callbacks_missed`](crate::stall::Counters::callbacks_missed) counts further ones. Its panics are
    /// counted in [`Counters::callback_panics`](crate::stall::Counters::callback_panics). Tests can call it with
    /// [`Stall::example`](crate::Stall::example).
    #[must_use]
    pub fn on_stall(mut self, callback: impl Fn(&StallEvent<'_>) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// The number of the real-time signal that captures the stack of a running thread. The default is the first free one.
    #[must_use]
    pub fn signal(mut self, signal: i32) -> Self {
        self.signal = Some(signal);
        self
    }

    /// Treats a crate as user code in the search for the culprit. Needed in programs without line tables only, for crates
    /// that hold no panic message. The crate of `main` is known.
    #[must_use]
    pub fn user_crate(mut self, name: impl Into<String>) -> Self {
        self.user_crates.push(name.into().replace('-', "_"));
        self
    }

    /// Samples the heap from the start, so that everything is known that lives. Without it, sampling begins with the first
    /// request. The environment variable `HOLDUP_HEAP`, such as `512KiB`, takes precedence.
    ///
    /// The program needs [`Allocator`](crate::heap::Allocator) as its global allocator; otherwise a warning says so.
    #[cfg(feature = "heap")]
    #[must_use]
    pub fn heap(mut self, sampling: crate::heap::Sampling) -> Self {
        self.heap = Some(sampling);
        self
    }

    /// Takes profiles of the heap from the program's jemalloc, which samples already: its option `prof` is on.
    ///
    /// `dump` returns the text that jemalloc's `prof.dump` writes. With it, no request begins holdup's sampling, so nothing
    /// is sampled twice. It answers for the modes `heap` and, with jemalloc's option `prof_accum`, `allocs`; a note in each
    /// file says that jemalloc took it. While holdup's own sampling is on, because [`heap`](Self::heap), `HOLDUP_HEAP` or
    /// [`Watch::sample_heap`] began it, holdup answers.
    ///
    /// ```
    /// # fn dump_of_jemalloc() -> std::io::Result<Vec<u8>> { Ok(b"heap_v2/524288\n".to_vec()) }
    /// let watch = holdup::Watch::builder().jemalloc_profile(dump_of_jemalloc).start()?;
    /// # Ok::<(), holdup::Error>(())
    /// ```
    ///
    /// The program needs no allocator of holdup's for it. The repository's package `examples/allocators` has the function for
    /// `tikv-jemalloc-ctl`.
    #[cfg(feature = "heap")]
    #[must_use]
    pub fn jemalloc_profile(mut self, dump: impl Fn() -> std::io::Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        self.jemalloc = Some(crate::heap::JemallocProfile::new(dump));
        self
    }

    /// Keeps the peak of the heap in a file, which survives the end of the process by a signal or for lack of memory.
    /// `holdup heap FILE` shows it. The environment variable `HOLDUP_HEAP_PEAK` takes precedence.
    ///
    /// The file has 4 MiB. The peak of an earlier process is moved to `FILE.previous`. Each process needs its own file. Where
    /// the file cannot be written, a warning says why, and the service goes on. Without [`heap`](Self::heap), the heap is
    /// sampled as by default.
    ///
    /// ```
    /// # #[global_allocator]
    /// # static ALLOCATOR: holdup::heap::Allocator = holdup::heap::Allocator::system();
    /// let file = std::env::temp_dir().join("my-service.peak");
    /// let watch = holdup::Watch::builder().heap_peak_file(&file).start()?;
    /// # drop(watch);
    /// # let _written = std::fs::remove_file(file);
    /// # Ok::<(), holdup::Error>(())
    /// ```
    #[cfg(feature = "heap")]
    #[must_use]
    pub fn heap_peak_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.heap_peak = Some(path.into());
        self
    }

    /// Starts the watch's threads, and logs the self-check as `tracing` events. Where no subscriber takes them, what holdup
    /// cannot see goes to standard error, unless [`print`](Self::print) is [`Print::Never`].
    ///
    /// # Errors
    /// - [`Error::Threshold`] if the threshold is below 1 ms.
    /// - [`Error::Signal`] if the signal of [`signal`](Self::signal) cannot be used.
    /// - [`Error::Listen`] if the text given to `listen` is no address, or if the endpoint cannot listen there and
    ///   `require_endpoint` was set.
    /// - [`Error::EndpointAccess`] if the text given to `allow_host` is no name, or if a token is missing and
    ///   `require_endpoint` was set.
    /// - [`Error::Thread`] if a thread cannot be started.
    pub fn start(self) -> Result<Watch, Error> {
        let threshold = self.threshold.unwrap_or(DEFAULT_THRESHOLD);
        if threshold < SMALLEST_THRESHOLD {
            return Err(Error::Threshold { asked: threshold, smallest: SMALLEST_THRESHOLD });
        }
        #[cfg(feature = "http")]
        let opened = self.endpoint.open()?;
        if cfg!(not(tokio_unstable)) {
            // Every runtime needs the poll frames, and finding them takes a while.
            PollFrames::prepare();
        }
        let (signal, signal_refused) = self.install_signal()?;
        let tested = self_check::try_out(signal.as_deref());
        let symbolizer = Symbolizer::of(Process::own(), ProgramPath::own().origins(self.user_crates.clone()));
        let check = self_check::describe(&Seen {
            threshold,
            signal: signal.as_ref().map(|signal| signal.number()),
            signal_refused: signal_refused.as_ref().map(ToString::to_string),
            tested: &tested,
            symbolizer: &symbolizer,
            #[cfg(feature = "http")]
            endpoint: opened.check,
            #[cfg(feature = "console")]
            consoles: consoles(),
        });
        let audience = Audience { printing: self.printing(), callback: self.callback.clone(), direct: None };
        let sinks = Sinks::start(audience).map_err(Error::Thread)?;
        check.checks.iter().for_each(|line| sinks.say(News::Check(line.clone())));
        #[cfg(feature = "http")]
        opened.notice.into_iter().for_each(|notice| sinks.say(News::Notice(notice)));
        sinks.settle(CHECK_LIMIT);
        let log = Arc::new(StallLog::new(threshold, symbolizer, ProgramPath::own().name(), sinks));
        let weak_signal = signal.as_ref().map_or_else(Weak::new, Arc::downgrade);
        #[cfg_attr(not(feature = "heap"), expect(unused_mut, reason = "only the heap has a setting here"))]
        let mut state = WatchState::new(log, check, weak_signal);
        #[cfg(feature = "heap")]
        state.jemalloc.clone_from(&self.jemalloc);
        let mut watch = Watch {
            state: Arc::new(state),
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
            #[cfg(feature = "http")]
            endpoint: None,
            _signal: signal.clone(),
        };
        self.start_threads(&mut watch, signal, tested.unwinder)?;
        run_local_set(&watch.state);
        #[cfg(feature = "heap")]
        self.start_heap(&watch.state);
        #[cfg(feature = "http")]
        if let Some(listening) = opened.listening {
            let endpoint = crate::http::Endpoint::start(listening, Arc::clone(&watch.state));
            watch.endpoint = Some(endpoint.map_err(Error::Thread)?);
        }
        Ok(watch)
    }

    /// Starts the watchdog and the reporter. On an error `watch` is dropped, which stops the started threads.
    fn start_threads(
        &self,
        watch: &mut Watch,
        signal: Option<Arc<StackSignal>>,
        unwinder: Option<Unwinder>,
    ) -> Result<(), Error> {
        let state = Arc::clone(&watch.state);
        let process = LocalWorkers::new(LocalWorkersConfig {
            registry: Arc::clone(&state.registry),
            poll_starts: Arc::clone(&state.since),
            poll_examples: Arc::clone(&state.poll_examples),
            signal,
            unwinder,
            stacks_missed: Arc::clone(&state.log.stacks_missed),
            runtimes: Arc::clone(&state.runtimes),
        });
        let (observations, queue) = mpsc::sync_channel(QUEUE);
        let (totals, stop) = (Arc::clone(&state.log.totals), Arc::clone(&watch.stop));
        let watchdog = Watchdog::new(process, state.log.threshold, totals, observations, stop);
        #[cfg(feature = "http")]
        let watchdog = watchdog.with_lanes();
        let (reporter, log) = (Reporter::new(Arc::clone(&state.log), queue), Arc::clone(&state.log));
        let report = move || {
            reporter.run();
            summary(&log.stalls()).into_iter().for_each(|line| log.sinks.say(line));
        };
        let (started, watchdog_tid) = mpsc::sync_channel(1);
        let run = move || {
            // The receiver is gone if nothing is ever printed.
            let _unheard = started.send(sys::current_tid());
            watchdog.run();
        };
        let thread = spawn_thread(own_thread::WATCHDOG, run).map_err(Error::Thread)?;
        state.registry.set_watchdog(thread.thread().clone());
        watch.threads.push(thread);
        watch.threads.push(spawn_thread(own_thread::REPORTER, report).map_err(Error::Thread)?);
        if self.print != Print::Never
            && let Ok(tid) = watchdog_tid.recv()
        {
            // Opened here, because a stuck worker may hold the allocator's lock later.
            let watchdog = ThreadProbe::open(Process::own(), tid);
            let (log, stop) = (Arc::clone(&state.log), Arc::clone(&watch.stop));
            let runs = Arc::new(AtomicBool::new(false));
            let is_running = Arc::clone(&runs);
            let check = move || {
                runs.store(true, Ordering::Release);
                check_watchdog(&watchdog, &log.totals.sampling_now, &stop);
            };
            watch.threads.push(spawn_thread(own_thread::WATCHDOG_CHECK, check).map_err(Error::Thread)?);
            // A thread allocates while it starts. Afterwards a worker may hold the allocator's lock for good.
            let limit = Instant::now() + THREAD_START;
            while !is_running.load(Ordering::Acquire) && Instant::now() < limit {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Samples the heap if it was asked for. A problem is a warning, because the service can do without.
    #[cfg(feature = "heap")]
    fn start_heap(&self, state: &WatchState) {
        let asked = match std::env::var("HOLDUP_HEAP") {
            Ok(text) => match text.parse() {
                Ok(sampling) => Some(sampling),
                Err(error) => {
                    state.log.sinks.say(News::Notice(format!("HOLDUP_HEAP: {error}")));
                    self.heap
                }
            },
            Err(_) => self.heap,
        };
        let file = std::env::var_os("HOLDUP_HEAP_PEAK").filter(|path| !path.is_empty());
        let file = file.map(std::path::PathBuf::from).or_else(|| self.heap_peak.clone());
        let asked = asked.or_else(|| file.is_some().then(crate::heap::Sampling::default));
        if let Some(file) = file {
            state.keep_heap_peak(file);
        }
        if let Some(Err(error)) = asked.map(|sampling| state.sample_heap(sampling)) {
            state.log.sinks.say(News::Notice(error.to_string()));
        }
    }

    /// Fails if a requested signal cannot be used. Without a request, the self-check reports a missing signal.
    fn install_signal(&self) -> Result<(Option<Arc<StackSignal>>, Option<std::io::Error>), Error> {
        match (StackSignal::install(self.signal), self.signal) {
            (Ok(signal), _) => Ok((Some(Arc::new(signal)), None)),
            (Err(source), Some(signal)) if sys::SUPPORTED => Err(Error::Signal { signal, source }),
            (Err(refused), _) => Ok((None, Some(refused))),
        }
    }

    fn printing(&self) -> Printing {
        let color =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let style = if color { Style::Colored } else { Style::Plain };
        match self.print {
            Print::Auto => Printing::Auto(style),
            Print::Always => Printing::Always(style),
            Print::Never => Printing::Never,
        }
    }
}

/// A line of the self-check for each tokio-console.
#[cfg(feature = "console")]
fn consoles() -> Vec<crate::model::check::Check> {
    let is_seen = crate::console::is_seen();
    crate::console::listening().iter().map(|place| crate::inprocess::console_check(place, is_seen)).collect()
}
