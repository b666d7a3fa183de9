//! Requests to a running service, over a fixed number of connections that are kept open.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1::SendRequest, header::HOST};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    load::{latency::Latencies, measurement::Measurement, schedule::Schedule},
    shutdown::Drain,
};

/// Time limit for a request, and for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause after a failed connection, to avoid a busy loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

pub(crate) struct ApiLoad {
    pub(crate) url: Url,
    /// Requests per second in an open loop. `None` means a closed loop.
    pub(crate) rate: Option<u32>,
    pub(crate) connections: u16,
    pub(crate) duration: Duration,
}

impl ApiLoad {
    /// Sends requests until the time is over. In an open loop, latency counts from the due time.
    pub(crate) async fn measure(&self, drain: Drain) -> anyhow::Result<Measurement> {
        let page = Arc::new(Page::of(&self.url)?);
        // Fails at once if no server answers, before anything is measured.
        page.connect().await.with_context(|| format!("{} cannot be asked (--url)", self.url))?;
        let started = Instant::now();
        let schedule = Arc::new(Schedule::starting_at(started, self.duration, self.rate));
        let askers: Vec<_> = (0..self.connections)
            .map(|_| {
                let asker = Asker::new(Arc::clone(&page), Arc::clone(&schedule))?;
                Ok(holdup::spawn_named("asker", asker.ask_on(drain.clone())))
            })
            .collect::<anyhow::Result<_>>()?;
        let mut all = Answers::none()?;
        for asker in askers {
            all.add(asker.await?)?;
        }
        let loop_kind =
            self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop, {rate} a second"));
        let what = format!("{}, {} connections, {loop_kind}", self.url, self.connections);
        let mut measurement = Measurement::new(what, all.latencies.count(), started.elapsed());
        measurement.failed = all.failed;
        measurement.not_begun = schedule.not_begun();
        measurement.latency_us = all.latencies.percentiles();
        measurement.first_failure = all.first_failure;
        Ok(measurement)
    }
}

/// The server and the path.
struct Page {
    /// Host and port.
    authority: String,
    path: String,
}

type Connection = SendRequest<Empty<Bytes>>;

impl Page {
    fn of(url: &Url) -> anyhow::Result<Self> {
        let host = url.host_str().ok_or_else(|| anyhow!("{url} names no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| anyhow!("{url} names no port"))?;
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { authority: format!("{host}:{port}"), path })
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream =
            timeout(PATIENCE, TcpStream::connect(&self.authority)).await.context("no connection in time")??;
        stream.set_nodelay(true)?;
        let (connection, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its error is reported by the failed request.
        holdup::spawn_named("connection", async move { driver.await.unwrap_or_default() });
        Ok(connection)
    }

    async fn ask(&self, connection: &mut Connection) -> anyhow::Result<()> {
        connection.ready().await?;
        let request = Request::get(&self.path).header(HOST, &self.authority).body(Empty::new())?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        ensure!(status.is_success(), "the answer was {status}");
        Ok(())
    }
}

/// One connection and its results.
struct Asker {
    page: Arc<Page>,
    schedule: Arc<Schedule>,
    connection: Option<Connection>,
    answers: Answers,
}

impl Asker {
    fn new(page: Arc<Page>, schedule: Arc<Schedule>) -> anyhow::Result<Self> {
        Ok(Self { page, schedule, connection: None, answers: Answers::none()? })
    }

    async fn ask_on(mut self, drain: Drain) -> Answers {
        tokio::select! {
            () = self.ask_while_due() => {}
            () = drain.requested() => {}
        }
        self.answers
    }

    async fn ask_while_due(&mut self) {
        while let Some(due) = self.schedule.next(Instant::now()) {
            // Tokio's timer rounds up to the next millisecond, even if the request is due now.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            match timeout(PATIENCE, self.ask()).await.unwrap_or_else(|_| Err(anyhow!("no answer in {PATIENCE:?}"))) {
                Ok(()) => self.answers.latencies.record(due.elapsed()),
                Err(error) => {
                    self.connection = None;
                    self.answers.failed += 1;
                    self.answers.first_failure.get_or_insert_with(|| format!("{error:#}"));
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.page.connect().await?),
        };
        self.page.ask(connection).await
    }
}

struct Answers {
    latencies: Latencies,
    failed: u64,
    first_failure: Option<String>,
}

impl Answers {
    fn none() -> anyhow::Result<Self> {
        Ok(Self { latencies: Latencies::none()?, failed: 0, first_failure: None })
    }

    fn add(&mut self, others: Self) -> anyhow::Result<()> {
        self.failed += others.failed;
        if self.first_failure.is_none() {
            self.first_failure = others.first_failure;
        }
        self.latencies.add(&others.latencies)
    }
}
