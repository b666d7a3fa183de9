//! `POST /items` and `GET /items/{id}`: items with a name and a price, kept in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    problem::{Problem, Violation},
};

/// Limit of a name, in characters.
const NAME: std::ops::RangeInclusive<usize> = 3..=50;

/// The body of a request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewItem {
    #[schema(min_length = 3, max_length = 50, example = "Tide tables")]
    name: String,
    #[schema(exclusive_minimum = 0, example = 12.5)]
    price: f64,
}

#[derive(Serialize, ToSchema, Clone, Debug)]
pub(super) struct Item {
    id: u64,
    name: String,
    price: f64,
}

/// The newest items, up to a fixed number.
pub(super) struct Items {
    size: usize,
    // Held for one lookup, never across an `.await`.
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    by_id: BTreeMap<u64, Item>,
    /// Number of items posted so far.
    posted: u64,
}

impl NewItem {
    fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let characters = self.name.chars().count();
        if !NAME.contains(&characters) {
            let detail = format!("must have {} to {} characters, not {characters}", NAME.start(), NAME.end());
            violations.push(Violation { pointer: "/name", detail });
        }
        // JSON has no infinity and no NaN, and a number out of range is a parse error.
        if self.price <= 0.0 {
            violations.push(Violation { pointer: "/price", detail: "must be more than 0".to_owned() });
        }
        violations
    }
}

impl Items {
    pub(super) fn of_size(size: usize) -> Self {
        Self { size, shelf: Mutex::default() }
    }

    /// The number of posted items, and of those that were replaced since.
    pub(super) fn posted_and_gone(&self) -> (u64, u64) {
        let shelf = self.shelf();
        (shelf.posted, shelf.posted - shelf.by_id.len() as u64)
    }

    fn add(&self, new: NewItem) -> Item {
        let mut shelf = self.shelf();
        shelf.posted += 1;
        let item = Item { id: shelf.posted, name: new.name, price: new.price };
        shelf.by_id.insert(item.id, item.clone());
        if shelf.by_id.len() > self.size {
            shelf.by_id.pop_first();
        }
        item
    }

    fn get(&self, id: u64) -> Option<Item> {
        self.shelf().by_id.get(&id).cloned()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds an item
#[utoipa::path(post, path = "/items", request_body = NewItem, responses(
    (status = 201, body = Item, headers(("location" = String, description = "Where the item is")),
        links(("itself" = (operation_id = "get_item", parameters(("id" = "$response.body#/id")))))),
    (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Not `application/json`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Not an item", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn post_item(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<NewItem>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(new) = body?;
    let violations = new.violations();
    if !violations.is_empty() {
        return Err(Problem::invalid(violations));
    }
    let item = shared.items.add(new);
    let place = format!("/items/{}", item.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(item)).into_response())
}

/// An item that was added
#[utoipa::path(get, path = "/items/{id}",
    params(("id" = u64, Path, description = "As the answer to `POST /items` gave it", minimum = 0)),
    responses(
        (status = 200, body = Item),
        (status = 400, description = "Not a number", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Never added, or gone since", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_item(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Item>, Problem> {
    let Path(id) = id?;
    let size = shared.items.size;
    let item = shared.items.get(id);
    item.map(Json).ok_or_else(|| Problem::not_found(format!("There is no item {id}; the newest {size} are kept.")))
}
