//! Every mistake is reported with its handler, file, line and cause.
#![cfg(all(feature = "inside", target_os = "linux", target_arch = "x86_64"))]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The running service. It is killed on drop.
struct Service {
    child: Child,
    api: String,
    diagnostics: String,
}

impl Service {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_axum_mistakes"))
            .args(["127.0.0.1:0", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was built");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        let mut address = || {
            let line = lines.next().expect("it prints its addresses").expect("as text");
            line.rsplit(' ').next().expect("a line has words").to_owned()
        };
        let (diagnostics, api) = (address(), address());
        Self { child, api, diagnostics }
    }

    fn get(&self, path: &str) {
        let response = ureq::get(format!("{}{path}", self.api)).call().expect("it answers");
        assert_eq!(response.status(), 200, "{path}");
    }

    fn stalls(&self) -> Vec<Value> {
        let url = format!("{}debug/holdup/stalls", self.diagnostics);
        let text = ureq::get(url).call().expect("it answers").body_mut().read_to_string().expect("text");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["stalls"].as_array().expect("a list").clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn every_mistake_is_reported_with_its_handler() {
    let service = Service::start();
    for (path, function, cause) in [
        ("remind", "axum_mistakes::handlers::remind", "sleeping"),
        ("stock", "axum_mistakes::handlers::stock", "lock"),
        // On a busy machine, the cause of what computes may be another.
        ("catalogue", "axum_mistakes::handlers::catalogue", ""),
        ("login?password=secret", "axum_mistakes::handlers::login", ""),
    ] {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            service.get(path);
            let stalls = service.stalls();
            let is_it = |stall: &&Value| {
                let culprit = &stall["culprit"];
                culprit["function"] == function && (cause.is_empty() || stall["cause"]["class"] == cause)
            };
            if let Some(stall) = stalls.iter().find(is_it) {
                let file = stall["culprit"]["file"].as_str().expect("lines are known");
                assert!(file.ends_with("src/handlers.rs"), "{stall:#}");
                assert!(stall["culprit"]["line"].is_u64() && stall["build_advice"].is_null(), "{stall:#}");
                break;
            }
            assert!(Instant::now() < deadline, "{path}: {stalls:#?}");
        }
    }
}
