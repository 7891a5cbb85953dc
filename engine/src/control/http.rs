//! The admin pages' sockets.
//!
//! Purpose: serve them over HTTP/1.1 to any number of clients of any kind, in bounded room and time.
//! Never: let one client keep another from its page, or read a body longer than a statement may be.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::admin::{Answer, Ask, Page, STATEMENT_BYTES_MAX, route};
use crate::control::desk::Desk;

/// Connections at once. The oldest that waits for its client makes room for a new one.
const CONNECTIONS_MAX: usize = 64;
/// From accept to the end of the request's head.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// From accept to the last byte of the answer.
const TOTAL_MAX: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// After a failure to accept, which means that there are no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection being served.
struct Slot {
    task: AbortHandle,
    /// It waits for Weir, not for its client.
    at_work: Rc<Cell<bool>>,
}

/// Serves the pages until the runtime ends.
pub(super) async fn serve(listener: TcpListener, desk: Rc<Desk>) {
    let mut slots: VecDeque<Slot> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                crate::observe::log_limited!(desk.now(), warn, "cannot accept on admin: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        slots.retain(|slot| !slot.task.is_finished());
        if slots.len() >= CONNECTIONS_MAX {
            let Some(idle) = slots.iter().position(|slot| !slot.at_work.get()) else { continue };
            if let Some(slot) = slots.remove(idle) {
                slot.task.abort();
            }
        }
        let at_work = Rc::new(Cell::new(false));
        let task = spawn_local(connection(stream, desk.clone(), at_work.clone()));
        slots.push_back(Slot { task: task.abort_handle(), at_work });
    }
}

/// One request, one answer, one end.
async fn connection(stream: TcpStream, desk: Rc<Desk>, at_work: Rc<Cell<bool>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (desk, at_work) = (desk.clone(), at_work.clone());
        async move {
            let page = read(request).await;
            at_work.set(true);
            let answer = match page {
                Ok(page) => desk.answer(page).await,
                Err(refusal) => refusal,
            };
            at_work.set(false);
            Ok::<_, Infallible>(response(answer))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever a client does wrong ends its connection, and concerns nobody else.
    drop(timeout(TOTAL_MAX, serving).await);
}

/// The page that is asked for, with the body if it has to do with it.
async fn read(request: Request<Incoming>) -> Result<Page, Answer> {
    let (head, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let page = route(head.method.as_str(), head.uri.path(), head.uri.query(), has_body)?;
    let Page::Explain(ask) = page else { return Ok(page) };
    if !has_body {
        return Ok(Page::Explain(ask));
    }
    let whole = Limited::new(body, STATEMENT_BYTES_MAX).collect().await;
    let whole = whole.map_err(|error| {
        let is_long = error.is::<LengthLimitError>();
        let bytes = STATEMENT_BYTES_MAX - 1;
        let long = format!("texts of more than {bytes} bytes are not read, and not taken here");
        if is_long { Answer::line(413, &long) } else { Answer::line(400, "the body is cut") }
    })?;
    Ok(Page::Explain(Ask { sql: Some(whole.to_bytes().into()), ..ask }))
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let Answer { status, content_type, allow, body } = answer;
    let mut response = Response::new(Full::new(body.into_owned().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(methods) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}
