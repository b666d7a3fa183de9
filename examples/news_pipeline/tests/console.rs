//! tokio-console shows the tasks of the reference service.

// Elsewhere `Console::listen` is an error.
#![cfg(tokio_unstable)]

mod support;

#[path = "../../../tests/support/console_client.rs"]
mod console_client;

use std::net::TcpListener;
use std::process::Command;

use console_client::{Shown, wait_for_tasks};
use support::alone;
use support::service::{Service, program};

#[test]
fn the_tasks_of_the_reference_service_are_shown() {
    let _alone = alone();
    let service = Service::start(&["--console", "127.0.0.1:0"]);
    wait_for_tasks(service.address("console"), "the parts of the service", |tasks| {
        ["publish", "consume", "feed server", "ingest", "api", "readers"].iter().all(|part| {
            let fits =
                |task: &Shown| task.name == *part && task.file.ends_with("examples/news_pipeline/src/service.rs");
            tasks.iter().any(fits)
        })
    });
}

#[test]
fn the_reference_service_runs_without_an_address_that_is_taken_and_says_so() {
    let _alone = alone();
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = Command::new(program())
        .args(["--api", "127.0.0.1:0", "--diagnostics", "127.0.0.1:0", "--for", "1s", "--console", &address])
        .output()
        .expect("it runs");
    let [said, logged] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && said.contains("diagnostics  http://"), "{said}{logged}");
    assert!(logged.contains(&format!("{address} is in use")) && logged.contains("tokio-console"), "{logged}");
}
