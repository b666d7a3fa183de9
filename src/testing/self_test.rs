//! Tests once per process whether stalls are noticed in this environment.

use std::sync::OnceLock;
use std::time::Duration;

use super::session::{Session, Settings};

/// How long the self-test stalls its runtime, one try after the other. A loaded machine may need a longer stall.
const STALLS: [Duration; 3] = [Duration::from_millis(30), Duration::from_millis(100), Duration::from_millis(500)];

static OUTCOME: OnceLock<Result<(), String>> = OnceLock::new();

/// Stalls a runtime of its own for a moment, and checks whether the stall is noticed. It runs once per process, before the
/// first [`Guard`](super::Guard) starts.
///
/// # Errors
/// Why a guard would see no stalls, in a sentence.
pub fn self_test() -> Result<(), String> {
    // It runs on a thread of its own, because the first guard may run inside a runtime, which allows no `block_on`.
    let run = || {
        std::thread::spawn(|| notices_one_of(&STALLS)).join().unwrap_or_else(|_| Err("the self-test panicked".into()))
    };
    OUTCOME.get_or_init(run).clone()
}

/// Starts to watch a test, after the self-test.
#[track_caller]
pub(super) fn start_session(settings: Settings) -> Session {
    start_session_after(self_test(), settings)
}

#[track_caller]
fn start_session_after(self_test: Result<(), String>, settings: Settings) -> Session {
    if let Err(problem) = self_test {
        let text = format!("holdup cannot guard tests here: {problem}");
        assert!(settings.warn_only, "{text}");
        eprintln!("{text}");
    }
    Session::start(settings).unwrap_or_else(|error| panic!("holdup cannot guard this test: {error}"))
}

fn notices_one_of(stalls: &[Duration]) -> Result<(), String> {
    for stall in stalls {
        let mut settings = Settings::default();
        settings.rules.set_threshold(*stall / 3);
        let session = Session::start(settings).map_err(|error| error.to_string())?;
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = session.watch.runtime(&mut builder).map_err(|error| error.to_string())?;
        runtime.block_on(async { std::thread::sleep(*stall) });
        drop(runtime);
        if session.judge().held_up.is_some() {
            return Ok(());
        }
    }
    let longest = stalls.last().copied().unwrap_or_default();
    Err(format!("a poll that took {longest:?} was not noticed; holdup's watchdog thread may not get to run"))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn stalls_are_noticed_here() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn a_runtime_without_a_stall_fails_the_self_test() {
        let error = notices_one_of(&[Duration::from_micros(10)]).expect_err("there was no stall");
        assert!(error.contains("was not noticed"), "{error}");
    }

    #[test]
    fn a_failed_self_test_fails_the_guarded_test() {
        let failed = || Err("nothing is sampled".to_owned());
        let panic = catch_unwind(AssertUnwindSafe(|| start_session_after(failed(), Settings::default())))
            .expect_err("it does not start");
        let text = panic.downcast_ref::<String>().map(String::as_str);
        assert_eq!(text, Some("holdup cannot guard tests here: nothing is sampled"));
        let warns = start_session_after(failed(), Settings { warn_only: true, ..Settings::default() });
        assert!(warns.judge().held_up.is_none(), "it starts anyway");
    }
}
