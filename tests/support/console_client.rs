//! A client of tokio-console's protocol.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;

use console_api::instrument::InstrumentRequest;
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::tasks::Task;

use super::support::DEADLINE;

/// A task as tokio-console shows it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

impl Shown {
    fn of(task: Task) -> Self {
        let named = |field: &&console_api::Field| {
            field
                .name
                .as_ref()
                .is_some_and(|name| matches!(name, console_api::field::Name::StrName(name) if name == "task.name"))
        };
        let value = task.fields.iter().find(named).and_then(|field| field.value.as_ref());
        let location = task.location.unwrap_or_default();
        Self {
            name: value.map(ToString::to_string).unwrap_or_default(),
            file: location.file.unwrap_or_default(),
            line: location.line.unwrap_or_default(),
        }
    }
}

/// Connects as `tokio-console` does, and reads updates until the reported tasks satisfy a condition.
pub(crate) fn wait_for_tasks(address: SocketAddr, what: &str, enough: impl Fn(&[Shown]) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let mut shown = Vec::new();
    let read = async {
        let mut client = InstrumentClient::connect(format!("http://{address}")).await.expect("it accepts");
        let mut updates = client.watch_updates(InstrumentRequest {}).await.expect("it answers").into_inner();
        while let Some(update) = updates.message().await.expect("the stream goes on") {
            let new = update.task_update.map(|tasks| tasks.new_tasks).unwrap_or_default();
            shown.extend(new.into_iter().map(Shown::of));
            if enough(&shown) {
                return;
            }
        }
        panic!("the stream ended: {what}");
    };
    let in_time = runtime.block_on(async { tokio::time::timeout(DEADLINE, read).await.is_ok() });
    assert!(in_time, "not in {DEADLINE:?}: {what}; there were {shown:#?}");
}
