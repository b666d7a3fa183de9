//! A stall as text: the report block and its one-line updates. The model's stalls and those read from the endpoint's
//! JSON are both rendered here, through [`StallView`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use super::stack_text::line;
pub(crate) use super::stack_text::{StackDetail, StackView};
use super::stall_parts_text::{PartView, parts_sentence};
use super::text::{CONTINUATION, PROSE_WIDTH, Style, milliseconds, short_name, wrapped};
use crate::model::cause::CauseClass;
use crate::model::evidence::Evidence;
use crate::model::holds::Holds;
use crate::model::plural::plural;
use crate::model::stall::{Detection, Stall};
use crate::model::task::Task;
use crate::model::victims::{self, VictimsUnknown};

/// What a report shows of a stall.
#[derive(Debug)]
pub(crate) struct StallView<'a> {
    pub(crate) id: u64,
    pub(crate) runtime: &'a str,
    /// The worker's index; `None` for the thread in `block_on` of a multi-thread runtime.
    pub(crate) worker: Option<usize>,
    /// What the poll holds up; `None` from older versions.
    pub(crate) holds: Option<Holds>,
    pub(crate) thread: &'a str,
    pub(crate) tid: i32,
    pub(crate) task: String,
    pub(crate) threshold: Duration,
    pub(crate) duration: Duration,
    pub(crate) detection: Detection,
    pub(crate) ended: bool,
    /// The word of the cause's class.
    pub(crate) class: &'a str,
    /// The title of the cause.
    pub(crate) cause: Cow<'a, str>,
    pub(crate) advice: Cow<'a, str>,
    pub(crate) evidence: Cow<'a, Evidence>,
    pub(crate) culprit: Option<CulpritView<'a>>,
    /// How to build the program so that it has more names.
    pub(crate) build: Option<&'a str>,
    pub(crate) parts: Vec<PartView<'a>>,
    /// Empty if nothing is known.
    pub(crate) waiting: String,
    /// `None` while the stall is running.
    pub(crate) victims: Option<String>,
    /// The stack, or why there is none.
    pub(crate) stack: Result<StackView<'a>, String>,
}

/// The culprit of a stall.
#[derive(Debug)]
pub(crate) struct CulpritView<'a> {
    pub(crate) function: &'a str,
    /// `file:line`, where it is known.
    pub(crate) location: Option<String>,
    /// The function it called, if it called one.
    pub(crate) call: Option<&'a str>,
}

/// Equal stalls that the reader has not been shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeats {
    /// Equal stalls so far, including this one.
    pub(crate) count: u64,
    /// The total and the longest duration of these stalls, where they are known.
    pub(crate) times: Option<(Duration, Duration)>,
    /// Reports held back by the rate limit since the previous one.
    pub(crate) suppressed: u64,
}

impl<'a> From<&'a Stall> for StallView<'a> {
    fn from(stall: &'a Stall) -> Self {
        let culprit = stall.culprit.as_ref().map(|culprit| CulpritView {
            function: &culprit.frame.function,
            location: culprit.frame.location(),
            call: culprit.call.as_deref(),
        });
        let running = stall.waiting.victims == Err(VictimsUnknown::Running);
        let stack = stall.stack.as_ref().map_err(ToString::to_string).map(|stack| StackView {
            frames: Cow::Borrowed(&stack.frames),
            method: stack.method.as_str(),
            complete: stack.complete,
            taken_after: stack.taken_after,
        });
        Self {
            id: stall.id.0,
            runtime: &stall.runtime,
            worker: stall.worker,
            holds: Some(stall.holds),
            thread: &stall.thread,
            tid: stall.tid,
            task: task(&stall.task),
            threshold: stall.threshold,
            duration: stall.duration,
            detection: stall.detection,
            ended: stall.ended,
            class: stall.cause.class.as_str(),
            cause: stall.cause.title().into(),
            advice: stall.cause.advice().into(),
            evidence: Cow::Borrowed(&stall.cause.evidence),
            culprit,
            build: stall.build_advice,
            parts: stall.parts.iter().map(PartView::from).collect(),
            waiting: stall.waiting.sentence(),
            victims: (!running).then(|| victims::sentence(&stall.waiting.victims)),
            stack,
        }
    }
}

impl StallView<'_> {
    /// The whole report: which worker, how long, why, where, and what to do.
    pub(crate) fn report(&self, repeats: Repeats, detail: StackDetail, style: Style) -> String {
        let mut out = String::new();
        line(&mut out, &self.headline(style));
        let mut put = |name: &str, text: &str| line(&mut out, &field(style, name, text));
        let threshold = milliseconds(self.threshold);
        put("thread", &format!("{} (tid {}); threshold {threshold}", self.thread, self.tid));
        put("task", &self.task);
        if let Some(explanation) = self.holds.and_then(Holds::explanation) {
            put("holds", explanation);
        }
        if let Some(explanation) = self.detection.explanation() {
            let bound = if self.is_at_least() { "; it may have started earlier" } else { "" };
            put("inferred", &format!("{explanation}{bound}"));
        }
        if let Some(culprit) = &self.culprit {
            put("culprit", &culprit.sentence(style));
        } else if self.stack.as_ref().is_ok_and(|stack| !stack.complete) {
            put("culprit", "not known, because the stack could not be followed to its end");
        }
        put("cause", &format!("{}; {}", style.strong(&self.cause_with_class()), numbers(&self.evidence)));
        if let Some(parts) = self.parts_sentence() {
            put("parts", &wrapped(&parts, PROSE_WIDTH).join(CONTINUATION));
        }
        put("advice", &wrapped(&self.advice, PROSE_WIDTH).join(CONTINUATION));
        if let Some(build) = self.build {
            put("build", &wrapped(build, PROSE_WIDTH).join(CONTINUATION));
        }
        if !self.waiting.is_empty() {
            put("waiting", &self.waiting);
        }
        if let Some(victims) = &self.victims {
            put("victims", victims);
        }
        if let Some(repeats) = repeats.sentence() {
            put("count", &style.faint(&repeats));
        }
        match &self.stack {
            Err(reason) => put("stack", &format!("none: {reason}")),
            Ok(_) if detail == StackDetail::Hidden => {}
            Ok(stack) => {
                put("stack", &style.faint(&stack.quality()));
                let function = self.culprit.as_ref().map(|culprit| culprit.function);
                stack.lines(&mut out, function, detail, style);
            }
        }
        out
    }

    /// One line for a reported stall that is still running or has ended, and its victims where they are known.
    pub(crate) fn update(&self, style: Style) -> String {
        let state = if self.ended { "ended" } else { "still running" };
        let mut out = String::new();
        let headline = format!(
            "{} {state} after {}{} ({}) on {}",
            self.number(style),
            style.strong(&self.held()),
            self.by(", by", style),
            self.cause_and_machine(),
            self.place(),
        );
        line(&mut out, &headline);
        if let Some(parts) = self.parts_sentence() {
            line(&mut out, &field(style, "parts", &wrapped(&parts, PROSE_WIDTH).join(CONTINUATION)));
        }
        if let Some(victims) = self.some_waited() {
            line(&mut out, &field(style, "victims", victims));
        }
        out
    }

    fn headline(&self, style: Style) -> String {
        format!("{} {}", self.number(style), self.story(style))
    }

    /// `worker 0 of runtime "news" held for 10.1 ms so far by nap (sleeping)`.
    pub(crate) fn story(&self, style: Style) -> String {
        let held = self.held();
        let held = if self.ended { format!("was held for {held}") } else { format!("held for {held} so far") };
        format!("{} {held}{} ({})", style.strong(&self.place()), self.by(" by", style), self.cause_and_machine())
    }

    /// The victims, if there are any.
    pub(crate) fn some_waited(&self) -> Option<&str> {
        self.victims.as_deref().filter(|sentence| sentence.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// `computing`; `computing, and 38.0 ms without a CPU` if the machine's part is considerable.
    pub(crate) fn cause_and_machine(&self) -> String {
        let machine = self.evidence.machine_time();
        if machine < self.evidence.window / 4 || machine.is_zero() || self.class == CauseClass::NotScheduled.as_str() {
            return self.cause.to_string();
        }
        format!("{}, and {} without a CPU", self.cause, milliseconds(machine))
    }

    /// `lock: waiting for Python's interpreter lock`; `waiting for a lock` alone, which has the word in it.
    fn cause_with_class(&self) -> String {
        let title = self.class.parse::<CauseClass>().map_or(self.class, |class| class.title());
        if self.cause.starts_with(title) { self.cause.to_string() } else { format!("{}: {}", self.class, self.cause) }
    }

    fn number(&self, style: Style) -> String {
        style.loud(&format!("holdup: stall #{}:", self.id))
    }

    /// `worker 2 of runtime "api"`.
    fn place(&self) -> String {
        let runtime = format!("runtime \"{}\"", self.runtime);
        match (self.holds, self.worker) {
            (Some(Holds::CurrentThread), _) => format!("current-thread {runtime}"),
            (Some(Holds::LocalSet), _) => format!("the LocalSet in block_on of {runtime}"),
            (Some(Holds::StartUp), _) => format!("the start-up of {runtime}"),
            (Some(Holds::Worker) | None, Some(index)) => format!("worker {index} of {runtime}"),
            // A worker without task hooks that has not parked yet does not know its index.
            (Some(Holds::Worker), None) => format!("a worker of {runtime}"),
            (Some(Holds::BlockOn) | None, _) => format!("the thread in block_on of {runtime}"),
        }
    }

    fn by(&self, by: &str, style: Style) -> String {
        let name = self.culprit.as_ref().map(|culprit| short_name(culprit.function));
        name.map_or_else(String::new, |name| format!("{by} {}", style.strong(&name)))
    }

    /// What the worker did, in order. `None` if it did one thing.
    pub(crate) fn parts_sentence(&self) -> Option<String> {
        parts_sentence(&self.parts, self.ended)
    }

    /// How long the worker was held: `12.1 ms`, or `at least 12.1 ms` for an inferred stall.
    pub(crate) fn held(&self) -> String {
        let at_least = if self.is_at_least() { "at least " } else { "" };
        format!("{at_least}{}", milliseconds(self.duration))
    }

    /// Whether the poll may have lasted longer. Of a poll of a `LocalSet`, its tasks took a part each.
    fn is_at_least(&self) -> bool {
        self.detection.is_inferred() && self.detection != Detection::LocalSet
    }
}

impl CulpritView<'_> {
    /// `api::nap at src/api.rs:12, which called std::thread::sleep`.
    fn sentence(&self, style: Style) -> String {
        let mut text = style.strong(self.function);
        if let Some(location) = &self.location {
            let _infallible = write!(text, " at {}", style.strong(location));
        }
        if let Some(call) = self.call {
            let _infallible = write!(text, ", which called {call}");
        }
        text
    }
}

impl Repeats {
    /// `3 equal stalls, 240 ms together, the longest 90.1 ms; 2 reports held back`; `None` for a single stall.
    fn sentence(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.count > 1 {
            let times = self.times.map_or_else(String::new, |(total, longest)| {
                format!(", {} together, the longest {}", milliseconds(total), milliseconds(longest))
            });
            parts.push(format!("{} equal stalls{times}", self.count));
        }
        if self.suppressed > 0 {
            parts.push(format!("{} held back", plural(self.suppressed, "report")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn field(style: Style, name: &str, text: &str) -> String {
    format!("  {} {text}", style.faint(&format!("{name:<8}")))
}

/// A task's id and name: `17 "GET /latest-news"`. The future given to `block_on` has a place and no id.
pub(crate) fn task_named(id: Option<u64>, has_place: bool, name: Option<&str>) -> String {
    let number = match (id, has_place) {
        (Some(id), _) => Some(id.to_string()),
        (None, true) => Some("none: the future given to block_on".to_owned()),
        (None, false) => None,
    };
    match (number, name) {
        (Some(number), Some(name)) => format!("{number} \"{name}\""),
        (Some(number), None) => number,
        (None, Some(name)) => format!("\"{name}\", id unknown"),
        (None, None) => "unknown".to_owned(),
    }
}

/// A task with its place: `17 "GET /latest-news", spawned at src/api.rs:88`.
pub(crate) fn task_at(id: Option<u64>, name: Option<&str>, place: Option<&str>) -> String {
    let mut text = task_named(id, place.is_some(), name);
    if let Some(place) = place {
        let verb = if id.is_some() { "spawned" } else { "called" };
        let _infallible = write!(text, ", {verb} at {place}");
    }
    text
}

/// A task of the model with its place.
pub(crate) fn task(task: &Task) -> String {
    task_at(task.id.map(|id| id.0), task.name.as_deref(), task.place().as_deref())
}

/// The evidence of a cause in one line: `observed for 75.0 ms: 37.0 ms on CPU, 38.0 ms waiting for a CPU`.
fn numbers(evidence: &Evidence) -> String {
    // Shares below a twentieth explain nothing.
    let least = evidence.window / 20;
    let mut parts = own_parts(evidence, least);
    parts.extend(machine_parts(evidence, least));
    if evidence.watchdog_late >= evidence.window / 2 {
        parts.push(format!("the watchdog itself was {} late", milliseconds(evidence.watchdog_late)));
    }
    match (evidence.minor_faults, evidence.major_faults) {
        (Some(minor), Some(major)) if major > 0 || minor > 1_000 => {
            let about =
                evidence.fault_time.map_or_else(String::new, |time| format!(" in at least {}", milliseconds(time)));
            parts.push(format!("{}{about}, {major} of them from disk", plural(minor, "page fault")));
            parts.extend(evidence.in_kernel.map(|time| format!("{} in the kernel", milliseconds(time))));
        }
        _ => {}
    }
    if parts.is_empty() {
        return "the kernel gives no numbers for this thread".to_owned();
    }
    format!("observed for {}: {}", milliseconds(evidence.window), parts.join(", "))
}

fn own_parts(evidence: &Evidence, least: Duration) -> Vec<String> {
    let waits = evidence.waits.iter().filter(|wait| wait.time >= least);
    let waits = waits.map(|wait| format!("{} in {}", milliseconds(wait.time), wait.site));
    waits.chain(evidence.on_cpu.map(|time| format!("{} on CPU", milliseconds(time)))).collect()
}

fn machine_parts(evidence: &Evidence, least: Duration) -> Vec<String> {
    let Evidence { run_queue, throttled, stolen, starved, .. } = evidence;
    let parts = [
        (*run_queue, "waiting for a CPU"),
        (*throttled, "held back by the CPU quota"),
        (*stolen, "taken by the hypervisor"),
        (Some(*starved), "runnable without a CPU"),
    ];
    let worth = |time: &Duration| *time >= least && !time.is_zero();
    let parts = parts.into_iter().filter_map(|(time, what)| Some((time.filter(worth)?, what)));
    parts.map(|(time, what)| format!("{} {what}", milliseconds(time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::remedy::BuildNames;

    fn view() -> StallView<'static> {
        StallView {
            id: 1,
            runtime: "news",
            worker: Some(0),
            holds: Some(Holds::Worker),
            thread: "tokio-rt-worker",
            tid: 2722,
            task: task_at(Some(29), Some("GET /"), Some("src/api.rs:71")),
            threshold: Duration::from_millis(10),
            duration: Duration::from_micros(10_100),
            detection: Detection::Instrumented,
            ended: false,
            class: "sleeping",
            cause: "sleeping".into(),
            advice: "Await instead.".into(),
            evidence: Cow::Owned(Evidence {
                window: Duration::from_micros(8_500),
                on_cpu: Some(Duration::ZERO),
                ..Evidence::default()
            }),
            culprit: Some(CulpritView {
                function: "news::faults::nap",
                location: Some("src/faults.rs:21".to_owned()),
                call: Some("std::thread::sleep"),
            }),
            build: None,
            parts: Vec::new(),
            waiting: String::new(),
            victims: None,
            stack: Err("too late".to_owned()),
        }
    }

    #[test]
    fn a_stall_without_a_function_of_the_user_names_the_remedy() {
        let report = StallView { build: BuildNames::Legacy.advice(), ..view() };
        let report = report.report(Repeats::default(), StackDetail::Folded, Style::Plain);
        let build = report.lines().position(|line| line.starts_with("  build    No function of yours is named"));
        let advice = report.lines().position(|line| line.starts_with("  advice"));
        assert!(build > advice && report.contains("symbol-mangling-version=v0"), "{report}");
    }

    #[test]
    fn the_headline_alone_says_what_happened() {
        let report = view().report(Repeats::default(), StackDetail::Folded, Style::Plain);
        let expected = "\
holdup: stall #1: worker 0 of runtime \"news\" held for 10.1 ms so far by nap (sleeping)
  thread   tokio-rt-worker (tid 2722); threshold 10.0 ms
  task     29 \"GET /\", spawned at src/api.rs:71
  culprit  news::faults::nap at src/faults.rs:21, which called std::thread::sleep
  cause    sleeping; observed for 8.5 ms: 0.0 ms on CPU
  advice   Await instead.
  stack    none: too late
";
        assert_eq!(report, expected);
    }

    #[test]
    fn the_headline_says_what_is_held_and_a_line_who_waits() {
        for (holds, worker, place, waits) in [
            (Holds::Worker, Some(2), "worker 2 of runtime \"news\"", None),
            (Holds::Worker, None, "a worker of runtime \"news\"", None),
            (Holds::CurrentThread, Some(0), "current-thread runtime \"news\"", Some("the whole runtime: its tasks")),
            (
                Holds::LocalSet,
                None,
                "the LocalSet in block_on of runtime \"news\"",
                Some("the other tasks of the LocalSet"),
            ),
            (Holds::BlockOn, None, "the thread in block_on of runtime \"news\"", Some("no worker: only the future")),
            (Holds::StartUp, Some(0), "the start-up of runtime \"news\"", Some("no task: the runtime has had none")),
        ] {
            let view = StallView { holds: Some(holds), worker, ..view() };
            let report = view.report(Repeats::default(), StackDetail::Folded, Style::Plain);
            assert!(
                report.starts_with(&format!("holdup: stall #1: {place} held for 10.1 ms so far by nap")),
                "{report}"
            );
            let line = report.lines().find(|line| line.starts_with("  holds    "));
            assert_eq!(line.is_some(), waits.is_some(), "{report}");
            assert!(line.unwrap_or_default().contains(waits.unwrap_or_default()), "{report}");
        }
    }

    #[test]
    fn updates_are_one_line_and_name_the_victims() {
        let running = view().update(Style::Plain);
        let place = "by nap (sleeping) on worker 0 of runtime \"news\"\n";
        assert_eq!(running, format!("holdup: stall #1: still running after 10.1 ms, {place}"));
        let ended = StallView { ended: true, victims: Some("2 tasks".to_owned()), ..view() }.update(Style::Plain);
        assert_eq!(ended, format!("holdup: stall #1: ended after 10.1 ms, {place}  victims  2 tasks\n"));
        let no_victims = StallView { ended: true, victims: Some("none: no task had to wait".to_owned()), ..view() };
        assert_eq!(no_victims.update(Style::Plain).lines().count(), 1);
    }

    #[test]
    fn the_machines_part_is_beside_the_cause() {
        let ms = Duration::from_millis;
        let evidence =
            Evidence { window: ms(75), on_cpu: Some(ms(37)), run_queue: Some(ms(38)), ..Evidence::default() };
        let beside_load =
            StallView { evidence: Cow::Owned(evidence), class: "computing", cause: "computing".into(), ..view() };
        let report = beside_load.report(Repeats::default(), StackDetail::Folded, Style::Plain);
        assert!(report.contains("by nap (computing, and 38.0 ms without a CPU)\n"), "{report}");
        let numbers = "  cause    computing; observed for 75.0 ms: 37.0 ms on CPU, 38.0 ms waiting for a CPU\n";
        assert!(report.contains(numbers), "{report}");
    }

    #[test]
    fn the_parts_of_the_machine_have_names() {
        let ms = Duration::from_millis;
        let evidence = Evidence {
            window: ms(75),
            on_cpu: Some(ms(37)),
            throttled: Some(ms(20)),
            stolen: Some(ms(10)),
            starved: ms(5),
            ..Evidence::default()
        };
        let expected = "observed for 75.0 ms: 37.0 ms on CPU, 20.0 ms held back by the CPU quota, \
            10.0 ms taken by the hypervisor, 5.0 ms runnable without a CPU";
        assert_eq!(numbers(&evidence), expected);
    }

    #[test]
    fn repeats_are_counted() {
        let times = Some((Duration::from_millis(240), Duration::from_millis(90)));
        let repeats = Repeats { count: 3, times, suppressed: 1 };
        assert_eq!(
            repeats.sentence().as_deref(),
            Some("3 equal stalls, 240 ms together, the longest 90.0 ms; 1 report held back")
        );
        assert_eq!(Repeats { count: 1, ..Repeats::default() }.sentence(), None);
    }
}
