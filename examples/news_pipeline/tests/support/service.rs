//! The reference service as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The last line that the service announces.
const LAST_ANNOUNCED: &str = "faults";

/// The running service; killed when the test is over, however it ends.
pub(crate) struct Service {
    pub(crate) child: Child,
    announced: Vec<String>,
}

impl Service {
    /// Starts it on free ports, and waits until it has announced itself.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_for("60s", arguments)
    }

    /// The same for a longer time, after which it ends by itself, whatever became of who started it.
    pub(crate) fn start_for(time: &str, arguments: &[&str]) -> Self {
        Self::run(Command::new(program()).args(["--for", time]).args(arguments))
    }

    /// The same with a command of one's own.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command
            .args(["--api", "127.0.0.1:0", "--diagnostics", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let mut announced = Vec::new();
        for line in lines.by_ref() {
            let last = line.starts_with(LAST_ANNOUNCED);
            announced.push(line);
            if last {
                break;
            }
        }
        // Somebody has to read what it prints, or it would wait for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        if !announced.last().is_some_and(|line| line.starts_with(LAST_ANNOUNCED)) {
            let mut told = String::new();
            let _told = stderr.read_to_string(&mut told);
            panic!("the service did not start: {told}");
        }
        // What a library of ours tells that is loaded into it is for whoever looks at the test.
        let tell = |line: std::io::Result<String>| {
            if let Some(line) = line.ok().filter(|line| line.starts_with("soak:")) {
                println!("{line}");
            }
        };
        std::thread::spawn(move || stderr.lines().for_each(tell));
        Self { child, announced }
    }

    /// The address that it announced under a heading such as `diagnostics`.
    pub(crate) fn address(&self, heading: &str) -> SocketAddr {
        let address = self.announced.iter().find_map(|line| {
            line.strip_prefix(heading)?.trim().strip_prefix("http://")?.split(['/', ' ']).next()?.parse().ok()
        });
        address.unwrap_or_else(|| panic!("no address of {heading} in {:?}", self.announced))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The program that `HOLDUP_NEWS_PIPELINE` names; without it, the one that cargo built for this test or bench.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("HOLDUP_NEWS_PIPELINE").map_or_else(|| env!("CARGO_BIN_EXE_news_pipeline").into(), PathBuf::from)
}
