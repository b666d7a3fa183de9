//! The parameters of a request, and what is answered to those that make no sense: 400 with one sentence.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::routes::{TEXT, answer};

/// Names and values, decoded. The head of a request is bounded, and so are they.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// Why a request makes no sense, in one sentence for its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadQuery(String);

impl Query {
    /// Understands what stands behind the `?` of an address.
    pub(super) fn parse(raw: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Refuses parameters that are none of these, so that a misspelt one is not ignored.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, BadQuery> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(BadQuery(format!("unknown parameter {name:?}; this path takes {}", known.join(", "))))
            }
            None => Ok(self),
        }
    }

    /// The value of a parameter, if it is given.
    pub(super) fn get<T>(&self, name: &str) -> Result<Option<T>, BadQuery>
    where
        T: FromStr,
        T::Err: Display,
    {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.parse() {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(BadQuery::new(name, value, &error)),
            },
            (Some(_), Some(_)) => Err(BadQuery(format!("{name} is given more than once"))),
        }
    }
}

impl BadQuery {
    /// Says what is wrong with a parameter's value.
    pub(super) fn new(name: &str, value: impl Display, problem: impl Display) -> Self {
        Self(format!("{name}={value} makes no sense: {problem}"))
    }
}

impl BadQuery {
    /// A sentence that says all.
    pub(super) fn sentence(text: impl Display) -> Self {
        Self(text.to_string())
    }
}

impl IntoResponse for BadQuery {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, answer(TEXT, self.0 + "\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_typed() {
        let query = Query::parse(Some("seconds=1.5&name=GET+%2Flatest%C3%A9&limit=7"));
        assert_eq!(query.get::<f64>("seconds"), Ok(Some(1.5)));
        assert_eq!(query.get::<String>("name"), Ok(Some("GET /latesté".to_owned())));
        assert_eq!(query.get::<usize>("absent"), Ok(None));
        assert!(Query::parse(None).only(&[]).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let sentence = |error: BadQuery| error.0;
        let query = Query::parse(Some("limit=-1&by=task&by=spawn"));
        let error = query.get::<usize>("limit").map_err(sentence).expect_err("is negative");
        assert!(error.starts_with("limit=-1 makes no sense: "), "{error}");
        let error = query.get::<String>("by").map_err(sentence).expect_err("stands twice");
        assert_eq!(error, "by is given more than once");
        let error = query.only(&["limit", "sort"]).map_err(sentence).expect_err("by is unknown");
        assert_eq!(error, "unknown parameter \"by\"; this path takes limit, sort");
    }

    #[test]
    fn any_bytes_are_bearable() {
        for raw in ["&&&", "=", "%", "%zz=%ff", "a=b=c", "\u{1F980}=\u{1F980}", "seconds"] {
            let query = Query::parse(Some(raw));
            let _any = query.get::<u64>("seconds");
        }
    }
}
