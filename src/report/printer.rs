//! Standard error: a bounded queue and a thread that writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handover::Handover;
use super::news::News;
use super::undelivered::{Gap, Undelivered};
use crate::export::text::Style;
use crate::model::own_thread;
use crate::sys;

/// Reports on their way to standard error. The rate limit admits ten at once.
const QUEUE: usize = 64;

/// When reports are printed to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Printing {
    /// When no subscriber takes them.
    Auto(Style),
    /// In any case.
    Always(Style),
    #[default]
    Never,
}

impl Printing {
    fn style(self) -> Option<Style> {
        match self {
            Self::Auto(style) | Self::Always(style) => Some(style),
            Self::Never => None,
        }
    }
}

/// Prints to standard error.
#[derive(Debug)]
pub(crate) struct Printer {
    pub(super) printing: Printing,
    /// `None` if nothing is ever printed.
    pub(crate) queue: Option<Handover<Arc<News>>>,
    undelivered: Arc<Undelivered>,
}

impl Printer {
    pub(crate) fn start(printing: Printing, undelivered: &Arc<Undelivered>) -> io::Result<Self> {
        let queue = printing.style().map(|style| writer(style, Arc::clone(undelivered))).transpose()?;
        Ok(Self { printing, queue, undelivered: Arc::clone(undelivered) })
    }

    /// Prints what is printed beside the event.
    pub(crate) fn print_beside(&self, news: &Arc<News>) {
        if self.prints_beside(news) {
            self.print(news);
        }
    }

    /// Prints what no subscriber takes.
    pub(crate) fn print_instead(&self, news: &Arc<News>) {
        if !self.prints_beside(news) {
            self.print(news);
        }
    }

    /// Prints what a subscriber should have taken, but could not. Counts it, if nothing is printed.
    pub(crate) fn print_undelivered(&self, news: &Arc<News>) {
        match self.queue {
            Some(_) => self.print_instead(news),
            None => self.count(),
        }
    }

    /// Prints, or counts what finds the queue full.
    pub(crate) fn print(&self, news: &Arc<News>) {
        let Some(queue) = &self.queue else { return };
        if !queue.offer(Arc::clone(news)) {
            self.count();
        }
    }

    fn prints_beside(&self, news: &News) -> bool {
        matches!(self.printing, Printing::Always(_)) && news.is_report()
    }

    fn count(&self) {
        self.undelivered.unprinted.fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread that writes.
fn writer(style: Style, undelivered: Arc<Undelivered>) -> io::Result<Handover<Arc<News>>> {
    let mut gap = Gap::default();
    let deliver = move |news: &Arc<News>| {
        let unprinted = gap.sentence(&undelivered).map(|sentence| format!("holdup: {sentence}\n"));
        let text = unprinted.into_iter().chain(news.text(style)).collect::<String>();
        if sys::write_to_standard_error(text.as_bytes()).is_err() {
            undelivered.unprinted.fetch_add(1, Ordering::Relaxed);
        }
        true
    };
    Handover::start(own_thread::PRINTER, QUEUE, deliver, drop)
}
