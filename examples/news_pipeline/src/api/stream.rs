//! `/stream`: every new article as a server-sent event.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;

use super::{Shared, problem::Problem};
use crate::article::Article;

/// Every new article as a server-sent event
///
/// An `article` event holds an article as JSON. A `missed` event holds the number of articles that were skipped
/// because the client reads too slowly. The stream ends when the service stops.
#[utoipa::path(get, path = "/stream", responses(
    (status = 200, body = String, content_type = "text/event-stream"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Ok(place) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return Err(Problem::unavailable("Too many read the stream; --streams sets the limit."));
    };
    let listening = (shared.api.cache.listen(), place);
    let events = stream::unfold(listening, |(mut news, place)| async move {
        let event = match news.recv().await {
            Ok(article) => of_article(&article),
            Err(RecvError::Lagged(missed)) => Event::default().event("missed").data(missed.to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (news, place)))
    });
    Ok(Sse::new(events.take_until(shared.drain.clone().requested())).keep_alive(KeepAlive::default()))
}

fn of_article(article: &Article) -> Event {
    let event = Event::default().event("article");
    // Any producer may have written the article, and these characters are not allowed in an event id.
    let event = if article.id.contains(['\r', '\n', '\0']) { event } else { event.id(&article.id) };
    match event.json_data(article) {
        Ok(event) => event,
        Err(error) => Event::default().comment(format!("an article cannot be shown: {error}")),
    }
}
