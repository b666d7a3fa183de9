//! `neighbour`: other processes compete for every CPU of the machine.
//!
//! They end with the service in every case, because each checks whether the service still runs.

use std::{
    hint::black_box,
    io, process,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::Commit;

const PER_CORE: usize = 4;

/// The computing time of a healthy handler. A longer poll means that the thread waited for a CPU.
const WORK: Duration = Duration::from_millis(5);

/// Counts, and checks from time to time whether the given process is alive.
const BUSY: &str = "while kill -0 \"$1\" 2>/dev/null; do i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; done";

pub(super) fn arm() -> io::Result<Commit> {
    let cores = thread::available_parallelism()?.get();
    let neighbours =
        (0..cores * PER_CORE).map(|_| start_neighbour()).collect::<io::Result<Vec<_>>>().map(Neighbours)?;
    Ok(Box::new(move |_| {
        let _still_there = &neighbours;
        work_beside_neighbours();
        Ok(())
    }))
}

/// Killed with the faults, before they notice by themselves.
struct Neighbours(Vec<Child>);

impl Drop for Neighbours {
    fn drop(&mut self) {
        for neighbour in &mut self.0 {
            // It may have ended already. Waiting for its end would hold the worker that drops this.
            let _ = neighbour.kill();
        }
    }
}

fn start_neighbour() -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", BUSY, "neighbour", &process::id().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

// Not inlined, because this is where a worker most often waits for a CPU.
#[inline(never)]
fn work_beside_neighbours() -> u64 {
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < WORK {
        rounds = black_box(rounds + 1);
    }
    rounds
}
