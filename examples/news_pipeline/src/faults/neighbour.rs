//! `neighbour`: other processes on the machine want every core, several times.
//!
//! They end with the service, however it ends: each looks whether the service is still there.

use std::{
    hint::black_box,
    io, process,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::Commit;

const PER_CORE: usize = 4;

/// What a healthy handler might compute. Ready to run for longer than this is not the handler's fault.
const WORK: Duration = Duration::from_millis(5);

/// Counts, and looks from time to time whether the process is alive that it was told.
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

/// Ended with the faults, before they would notice by themselves.
struct Neighbours(Vec<Child>);

impl Drop for Neighbours {
    fn drop(&mut self) {
        for neighbour in &mut self.0 {
            // One that has ended already is just as good. Waiting for its end would hold the worker that drops this.
            let _ = neighbour.kill();
        }
    }
}

fn start_neighbour() -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", BUSY, "neighbour", &process::id().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

// Not inlined: it is where a worker most often has to wait for a core.
#[inline(never)]
fn work_beside_neighbours() -> u64 {
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < WORK {
        rounds = black_box(rounds + 1);
    }
    rounds
}
