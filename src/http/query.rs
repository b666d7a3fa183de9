//! The parameters of a request. A bad parameter is answered with status 400 and one sentence.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answer::{TEXT, answer};
use crate::quantity;

/// Decoded names and values. The server limits the size of a request's head, and so their number.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// What is wrong with a request, in one sentence for its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadQuery(String);

impl Query {
    /// Parses the part of an address after the `?`.
    pub(super) fn parse(raw: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Rejects unknown parameters, so that a misspelled one is not ignored.
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
        self.parsed(name, str::parse)
    }

    /// A duration, such as `5`, `500ms` or `1m`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, BadQuery> {
        self.parsed(name, quantity::duration)
    }

    /// A whole number.
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, BadQuery> {
        self.parsed(name, quantity::number)
    }

    fn parsed<T, E: Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, BadQuery> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => parse(value).map(Some).map_err(|problem| BadQuery::new(name, value, problem)),
            (Some(_), Some(_)) => Err(BadQuery(format!("{name} is given more than once"))),
        }
    }
}

impl BadQuery {
    /// The error for a parameter's value.
    pub(super) fn new(name: &str, value: impl Display, problem: impl Display) -> Self {
        Self(format!("{name}={value} is invalid: {problem}"))
    }

    /// An error with a complete sentence.
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
        assert_eq!(query.duration("seconds"), Ok(Some(Duration::from_millis(1_500))));
        assert_eq!(query.get::<String>("name"), Ok(Some("GET /latesté".to_owned())));
        assert_eq!(query.number::<usize>("absent"), Ok(None));
        assert!(Query::parse(None).only(&[]).is_ok());
    }

    #[test]
    fn errors_name_the_parameter() {
        let sentence = |error: BadQuery| error.0;
        let query = Query::parse(Some("limit=-1&by=task&by=spawn"));
        let error = query.number::<usize>("limit").map_err(sentence).expect_err("is negative");
        assert!(error.starts_with("limit=-1 is invalid: \"-1\" is not a number"), "{error}");
        let error = query.get::<String>("by").map_err(sentence).expect_err("is given twice");
        assert_eq!(error, "by is given more than once");
        let error = query.only(&["limit", "sort"]).map_err(sentence).expect_err("by is unknown");
        assert_eq!(error, "unknown parameter \"by\"; this path takes limit, sort");
    }

    #[test]
    fn any_bytes_are_accepted() {
        for raw in ["&&&", "=", "%", "%zz=%ff", "a=b=c", "\u{1F980}=\u{1F980}", "seconds"] {
            let query = Query::parse(Some(raw));
            let _any = query.get::<u64>("seconds");
        }
    }
}
