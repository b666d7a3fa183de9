//! A busy machine for the cases: threads that compute beside them, and a CPU quota.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;

use crate::options::CardOptions;
use crate::quota::{PERIOD, Quota};

/// What makes the machine busy. It ends on drop.
#[derive(Debug)]
pub(crate) struct MachineLoad {
    stop: Arc<AtomicBool>,
    hogs: Vec<JoinHandle<()>>,
    quota: Option<Quota>,
}

impl MachineLoad {
    pub(crate) fn start(options: &CardOptions) -> anyhow::Result<Self> {
        let quota = options.quota.map(|percent| Quota::make(PERIOD / 100 * percent)).transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self { stop, hogs: Vec::new(), quota };
        for _ in 0..options.hogs {
            load.hogs.push(start_hog(&load.stop)?);
        }
        Ok(load)
    }

    /// A command that runs the program in the group with the quota, if there is one.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(quota) = &self.quota else { return Command::new(program) };
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(quota.processes_file()).arg(program);
        command
    }
}

impl Drop for MachineLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for hog in self.hogs.drain(..) {
            // A hog has nothing that could panic.
            let _ended = hog.join();
        }
    }
}

fn start_hog(stop: &Arc<AtomicBool>) -> anyhow::Result<JoinHandle<()>> {
    let stop = Arc::clone(stop);
    let compute = move || {
        while !stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    };
    std::thread::Builder::new().name("hog".to_owned()).spawn(compute).context("a busy thread cannot be started")
}
