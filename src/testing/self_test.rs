//! Whether stalls are noticed in this environment: tried once in a process.

use std::sync::OnceLock;
use std::time::Duration;

use super::guard::Guard;

/// How long the self-test holds its own runtime up, one try after the other: a machine under load may need longer.
const HOLDS: [Duration; 3] = [Duration::from_millis(30), Duration::from_millis(100), Duration::from_millis(500)];

static OUTCOME: OnceLock<Result<(), String>> = OnceLock::new();

/// Holds up a runtime of its own for a moment and looks whether that is noticed. Tried once in a process; every
/// [`Guard`] asks before it starts.
///
/// # Errors
/// Why a guard would see nothing, in a sentence.
pub fn self_test() -> Result<(), String> {
    // On a thread of its own, because the first guard may be inside a runtime, where no other one can be run.
    let try_out =
        || std::thread::spawn(|| try_out(&HOLDS)).join().unwrap_or_else(|_| Err("the self-test panicked".into()));
    OUTCOME.get_or_init(try_out).clone()
}

fn try_out(holds: &[Duration]) -> Result<(), String> {
    for hold in holds {
        let watching = Guard::new().threshold(*hold / 3).start_untested().map_err(|error| error.to_string())?;
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = watching.watch.runtime(&mut builder).map_err(|error| error.to_string())?;
        runtime.block_on(async { std::thread::sleep(*hold) });
        drop(runtime);
        if watching.judge().held_up.is_some() {
            return Ok(());
        }
    }
    let longest = holds.last().copied().unwrap_or_default();
    Err(format!("a poll that took {longest:?} was not noticed; holdup's watchdog thread may not get to run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_noticed_here() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn a_runtime_that_is_not_held_up_does_not_pass_the_self_test() {
        let error = try_out(&[Duration::from_micros(10)]).expect_err("nothing was held up");
        assert!(error.contains("was not noticed"), "{error}");
    }
}
