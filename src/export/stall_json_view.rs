//! Stalls read from the endpoint's JSON, as the text renderer shows them.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use super::cause_json::{CauseJson, EvidenceJson, StallPartJson, WaitJson};
use super::group_json::{GroupPartJson, StallGroupJson};
use super::group_text::{GroupPartView, GroupView};
use super::json::{FrameJson, StallJson, TaskJson, WaitingJson};
use super::stall_parts_text::PartView;
use super::stall_text::{self, CulpritView, StackView, StallView};
use crate::model::cause::CauseClass;
use crate::model::evidence::{Evidence, SyscallKind, WaitSite, WaitTime};
use crate::model::holds::{Counted, Holds};
use crate::model::stack::{Frame, Origin};
use crate::model::stall::Detection;
use crate::model::victims::VictimsUnknown;
use crate::model::waiting::{Driver, Waiting};

impl<'a> From<&'a StallJson> for StallView<'a> {
    fn from(stall: &'a StallJson) -> Self {
        let culprit = stall.culprit.as_ref().map(|culprit| CulpritView {
            function: &culprit.function,
            location: location(culprit.file.as_deref(), culprit.line),
            call: culprit.call.as_deref(),
        });
        let quality = &stall.stack_quality;
        let stack = match &quality.missing {
            Some(reason) => Err(reason.clone()),
            None => Ok(StackView {
                frames: stall.stack.iter().map(Frame::from).collect(),
                method: quality.method.as_deref().unwrap_or("unknown"),
                complete: quality.complete,
                taken_after: duration(quality.taken_after_ms.unwrap_or_default()),
            }),
        };
        let victims = &stall.waiting.victims;
        let running =
            victims.missing.as_deref() == Some(VictimsUnknown::Running.as_str()) || victims.sentence.is_empty();
        Self {
            id: stall.id,
            runtime: &stall.runtime,
            worker: stall.worker,
            holds: Holds::of_word(&stall.holds),
            thread: &stall.thread,
            tid: stall.tid,
            task: stall.task.sentence(),
            threshold: duration(stall.threshold_ms),
            duration: duration(stall.duration_ms),
            detection: Detection::of_word(&stall.detection),
            ended: stall.ended,
            class: &stall.cause.class,
            cause: stall.cause.title().into(),
            advice: Cow::Borrowed(&stall.cause.advice),
            evidence: Cow::Owned((&stall.cause.evidence).into()),
            culprit,
            build: stall.build_advice.as_deref(),
            parts: stall.parts.iter().map(PartView::from).collect(),
            waiting: Waiting::from(&stall.waiting).sentence(),
            victims: (!running).then(|| victims.sentence.clone()),
            stack,
        }
    }
}

impl<'a> From<&'a StallGroupJson> for GroupView<'a> {
    fn from(group: &'a StallGroupJson) -> Self {
        let time = |unix_ms| UNIX_EPOCH + Duration::from_millis(unix_ms);
        Self {
            function: group.function.as_deref(),
            counted_as: Counted::of_word(&group.counted_as),
            count: group.count,
            running: group.running,
            total: duration(group.total_ms),
            share: group.share,
            longest: duration(group.longest_ms),
            first_noticed_at: time(group.first_noticed_unix_ms),
            last_noticed_at: time(group.last_noticed_unix_ms),
            parts: group.parts.iter().map(GroupPartView::from).collect(),
        }
    }
}

impl<'a> From<&'a GroupPartJson> for GroupPartView<'a> {
    fn from(part: &'a GroupPartJson) -> Self {
        Self {
            location: part.location.as_deref(),
            cause: title(&part.title, &part.cause).into(),
            count: part.count,
            total: duration(part.total_ms),
        }
    }
}

impl<'a> From<&'a StallPartJson> for PartView<'a> {
    fn from(part: &'a StallPartJson) -> Self {
        Self {
            from: duration(part.from_ms),
            to: duration(part.to_ms),
            cause: part.cause.title().into(),
            function: part.culprit.as_ref().map(|culprit| &*culprit.function),
        }
    }
}

/// The title of a cause. Answers of versions before objects have none, and words of later versions have none here.
fn title<'a>(title: &'a str, class: &'a str) -> &'a str {
    let of_class = || class.parse::<CauseClass>().map_or(class, |class| class.title());
    if title.is_empty() { of_class() } else { title }
}

impl CauseJson {
    fn title(&self) -> &str {
        title(&self.title, &self.class)
    }
}

impl TaskJson {
    /// `17 "GET /latest-news", spawned at src/api.rs:88`.
    pub(crate) fn sentence(&self) -> String {
        stall_text::task_at(self.id, self.name.as_deref(), self.spawned_at.as_deref())
    }
}

/// `src/api.rs:12`, or the file alone.
fn location(file: Option<&str>, line: Option<u32>) -> Option<String> {
    let file = file?;
    Some(line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}

/// A duration from milliseconds; zero for a number that is not a duration.
pub(crate) fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

impl From<&FrameJson> for Frame {
    fn from(frame: &FrameJson) -> Self {
        let origin = Origin::ALL.into_iter().find(|origin| origin.as_str() == frame.origin);
        Self {
            file: frame.file.as_deref().map(Into::into),
            line: frame.line,
            package: frame.package.as_deref().map(Into::into),
            ..Self::new(&*frame.function, origin.unwrap_or(Origin::Unknown))
        }
    }
}

impl From<&EvidenceJson> for Evidence {
    fn from(json: &EvidenceJson) -> Self {
        let wait = |wait: &WaitJson| WaitTime {
            site: WaitSite::Syscall { name: wait.place.clone(), kind: SyscallKind::Other, file: None, stream: None },
            time: duration(wait.ms),
        };
        Self {
            window: duration(json.window_ms),
            samples: json.samples,
            on_cpu: json.on_cpu_ms.map(duration),
            in_kernel: json.in_kernel_ms.map(duration),
            run_queue: json.run_queue_ms.map(duration),
            throttled: json.throttled_ms.map(duration),
            throttles: json.throttles,
            stolen: json.stolen_ms.map(duration),
            starved: duration(json.starved_ms),
            waits: json.waits.iter().map(wait).collect(),
            minor_faults: json.minor_faults,
            fault_time: json.fault_ms.map(duration),
            major_faults: json.major_faults,
            state: json.state,
            asleep: duration(json.asleep_ms),
            watchdog_late: duration(json.watchdog_late_ms),
        }
    }
}

/// Without the victims, for which JSON has a sentence.
impl From<&WaitingJson> for Waiting {
    fn from(json: &WaitingJson) -> Self {
        Self {
            local_queue: json.local_queue,
            global_queue: json.global_queue,
            driver: Driver::of_word(&json.driver),
            others: json.others,
            others_parked: json.others_parked,
            others_stalled: json.others_stalled,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stall_text::{Repeats, StackDetail};
    use super::super::text::Style;
    use super::*;
    use crate::model::cause_object::CauseObject;
    use crate::model::stall::{Stall, StallEntry};

    /// The report of a stall, from the model and from its JSON.
    fn reports(objects: &[CauseObject], class: CauseClass) -> [String; 2] {
        let mut stall = Stall::example("api::relay", Duration::from_millis(161), class);
        stall.cause.objects = objects.to_vec();
        let json = StallJson::from(&StallEntry::new(stall.clone()));
        [StallView::from(&stall), StallView::from(&json)]
            .map(|view| view.report(Repeats::default(), StackDetail::Folded, Style::Plain))
    }

    #[test]
    fn reports_tell_the_object_with_its_advice() {
        use CauseObject::{Drop, StandardOutputPipe, StuckLock};
        let title = "writing to a full pipe on standard output";
        for report in reports(&[StandardOutputPipe, Drop], CauseClass::File) {
            assert!(report.contains(&format!("so far by relay ({title}, in a drop)\n")), "{report}");
            assert!(report.contains(&format!("  cause    file: {title}, in a drop; ")), "{report}");
            let words = report.split_whitespace().collect::<Vec<_>>().join(" ");
            let advice = format!("{} {}", StandardOutputPipe.advice(), Drop.advice());
            assert!(words.contains(&advice) && !words.contains("tokio::fs"), "{words}");
        }
        for report in reports(&[StuckLock], CauseClass::Lock) {
            assert!(
                report.contains("  cause    waiting for a lock that it does not get; "),
                "the class is in it: {report}"
            );
        }
        for report in reports(&[], CauseClass::Lock) {
            assert!(report.contains("by relay (waiting for a lock)\n") && report.contains("lock is held"), "{report}");
        }
    }

    #[test]
    fn json_without_a_title_has_that_of_its_class() {
        for (class, words) in [("not_scheduled", "not scheduled"), ("a_later_one", "a_later_one")] {
            assert_eq!(title("", class), words);
        }
        assert_eq!(title("waiting for a later object", "lock"), "waiting for a later object");
    }
}
