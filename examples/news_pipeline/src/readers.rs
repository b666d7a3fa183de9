//! Simulated readers: they request `/latest-news` over real HTTP, so that the handlers run, and commit faults, without
//! a user.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Client, Url};
use tokio::task::JoinHandle;

use crate::{outage::Outage, shutdown::Drain};

/// Time limit of a request. A handler that holds its worker for good never answers.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Readers {
    pub(crate) client: Client,
    pub(crate) page: Url,
    pub(crate) count: u16,
    pub(crate) interval: Duration,
}

/// The requested page, reachable from this machine even if the API listens on all addresses.
pub(crate) fn page(mut api: SocketAddr) -> anyhow::Result<Url> {
    if api.ip().is_unspecified() {
        api.set_ip(match api {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(Url::parse(&format!("http://{api}/latest-news"))?)
}

impl Readers {
    pub(crate) fn describe(&self) -> String {
        match self.count {
            0 => "none; ask for the news yourself".to_owned(),
            count => format!("{count}, each every {:?}", self.interval),
        }
    }

    /// Reads until the drain, each reader in a separate task.
    pub(crate) async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let readers: Vec<JoinHandle<()>> = (0..self.count)
            .map(|_| {
                let reading = read_on(self.client.clone(), self.page.clone(), self.interval);
                let drain = drain.clone();
                holdup::spawn_named("reader", async move {
                    tokio::select! {
                        () = reading => {}
                        () = drain.requested() => {}
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await?;
        }
        Ok(())
    }
}

async fn read_on(client: Client, page: Url, pause: Duration) {
    let outage = Outage::of("a reader");
    loop {
        match read(&client, &page).await {
            Ok(()) => outage.worked(),
            Err(error) => outage.failed(&format_args!("{error:#}")),
        }
        tokio::time::sleep(pause).await;
    }
}

async fn read(client: &Client, page: &Url) -> anyhow::Result<()> {
    let answer = client.get(page.clone()).timeout(PATIENCE).send().await?;
    answer.error_for_status()?.bytes().await?;
    Ok(())
}
