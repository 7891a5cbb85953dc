//! Requests over HTTP and their answers.
//!
//! Purpose: decide what a method and a path ask for.
//! Never: parse HTTP, or know what is on a page.

use std::borrow::Cow;

use crate::admin::explain::Ask;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// For Prometheus.
    Metrics,
    /// HDR histograms.
    Histograms,
    /// Whether the process serves.
    Healthz,
    /// Whether clients should be sent here.
    Readyz,
    /// What sessions there are, or one of them by its id.
    Sessions(Option<u32>),
    /// Where a statement would go.
    Explain(Ask),
}

/// An answer as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// Methods the path takes, where another was used.
    pub allow: Option<&'static str>,
    /// The body; not sent for HEAD.
    pub body: Cow<'static, [u8]>,
}

impl Answer {
    /// A page that is there.
    #[must_use]
    pub fn page(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status: 200, content_type, allow: None, body: body.into() }
    }

    /// One line for people.
    #[must_use]
    pub fn line(status: u16, text: &str) -> Self {
        let body = format!("{text}\n").into_bytes().into();
        Self { status, content_type: PLAIN, allow: None, body }
    }

    /// Whether the process serves; it does when it can say so.
    #[must_use]
    pub fn healthz() -> Self {
        Self::line(200, "ok")
    }

    /// Whether clients should be sent here.
    #[must_use]
    pub fn readyz(ready: &Result<(), String>) -> Self {
        match ready {
            Ok(()) => Self::line(200, "ok"),
            Err(reason) => Self::line(503, reason),
        }
    }
}

/// The page that is asked for. `query` is what stands behind the question mark; only two pages look
/// at it. A body is the statement of [`Page::Explain`] and of no other page.
///
/// # Errors
/// The answer to a request for something else.
pub fn route(
    method: &str,
    path: &str,
    query: Option<&str>,
    has_body: bool,
) -> Result<Page, Answer> {
    let page = match path {
        "/metrics" => Page::Metrics,
        "/histograms" => Page::Histograms,
        "/healthz" => Page::Healthz,
        "/readyz" => Page::Readyz,
        "/sessions" => Page::Sessions(session(query)?),
        "/explain" => Page::Explain(Ask::read(query)?),
        _ => return Err(Answer::line(404, UNKNOWN)),
    };
    let takes_body = matches!(page, Page::Explain(_)) && method == "POST";
    if !takes_body && !matches!(method, "GET" | "HEAD") {
        let (text, allow) = match page {
            Page::Explain(_) => ("only GET, HEAD and POST are taken here", "GET, HEAD, POST"),
            Page::Metrics | Page::Histograms | Page::Healthz | Page::Readyz | Page::Sessions(_) => {
                ("only GET and HEAD are taken here", "GET, HEAD")
            }
        };
        return Err(Answer { allow: Some(allow), ..Answer::line(405, text) });
    }
    if has_body && !takes_body {
        return Err(Answer::line(413, "no body is taken here"));
    }
    if let Page::Explain(Ask { sql: Some(_), .. }) = page
        && has_body
    {
        return Err(Answer::line(400, "the statement is in the query and in the body"));
    }
    Ok(page)
}

/// The id in `id=7`.
fn session(query: Option<&str>) -> Result<Option<u32>, Answer> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let id = query.strip_prefix("id=").and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(|| Answer::line(400, "it is /sessions, or /sessions?id=NUMBER"))
}

pub(super) const PLAIN: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const UNKNOWN: &str = "pages are /metrics, /histograms, /sessions, /explain, /healthz and /readyz";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, path: &str, has_body: bool) -> (u16, Option<&'static str>) {
        let answer = route(method, path, None, has_body).unwrap_err();
        assert!(answer.body.ends_with(b"\n"));
        (answer.status, answer.allow)
    }

    #[test]
    fn pages_are_known_by_their_path() {
        for (path, page) in [
            ("/metrics", Page::Metrics),
            ("/histograms", Page::Histograms),
            ("/healthz", Page::Healthz),
            ("/readyz", Page::Readyz),
            ("/sessions", Page::Sessions(None)),
        ] {
            for method in ["GET", "HEAD"] {
                assert_eq!(route(method, path, None, false), Ok(page.clone()));
                assert_eq!(route(method, path, Some(""), false), Ok(page.clone()));
            }
        }
        assert_eq!(route("GET", "/sessions", Some("id=7"), false), Ok(Page::Sessions(Some(7))));
        for query in ["id=", "id=x", "id=-1", "id=4294967296", "user=a"] {
            assert_eq!(route("GET", "/sessions", Some(query), false).unwrap_err().status, 400);
        }
    }

    #[test]
    fn a_statement_comes_in_the_query_or_as_the_body() {
        let ask = |sql: Option<&[u8]>| Ask { sql: sql.map(Into::into), ..Ask::default() };
        let read = |method, query, has_body| match route(method, "/explain", query, has_body) {
            Ok(Page::Explain(ask)) => Ok(ask),
            Ok(other) => panic!("{other:?}"),
            Err(answer) => Err((answer.status, answer.allow)),
        };
        assert_eq!(read("GET", Some("sql=DO+1"), false), Ok(ask(Some(b"DO 1"))));
        assert_eq!(read("POST", Some("sql=DO%201"), false), Ok(ask(Some(b"DO 1"))));
        assert_eq!(read("POST", None, true), Ok(ask(None)));
        let all = Ask {
            endpoint: Some("a b".to_owned()),
            sql: Some(b"\xff".to_vec()),
            sql_mode: b"ANSI".to_vec(),
            json: true,
        };
        let query = "endpoint=a+b&sql=%ff&sql_mode=ANSI&format=json";
        assert_eq!(read("HEAD", Some(query), false), Ok(all));
        assert_eq!(read("POST", Some("sql=1"), true), Err((400, None)));
        assert_eq!(read("GET", Some("sql=1"), true), Err((413, None)));
        assert_eq!(read("PUT", Some("sql=1"), true), Err((405, Some("GET, HEAD, POST"))));
        for odd in ["sql=%", "endpoint=%ff", "format=xml", "SQL=1", "q"] {
            assert_eq!(read("GET", Some(odd), false), Err((400, None)), "{odd}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_the_right_status() {
        for path in ["/", "", "/metrics/", "/METRICS", "/metrics%00", "*", "//metrics"] {
            assert_eq!(refused("GET", path, false), (404, None), "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", "CONNECT", "BREW"] {
            assert_eq!(refused(method, "/healthz", false), (405, Some("GET, HEAD")), "{method}");
        }
        assert_eq!(refused("GET", "/metrics", true), (413, None));
    }

    #[test]
    fn readiness_is_a_status_and_a_reason() {
        assert_eq!(Answer::readyz(&Ok(())).status, 200);
        let answer = Answer::readyz(&Err("stopping".to_owned()));
        assert_eq!((answer.status, &*answer.body), (503, &b"stopping\n"[..]));
    }
}
