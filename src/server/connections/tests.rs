//! Tests of connection limits, over a pipe that holds 10 bytes and in virtual time.

use futures_util::FutureExt;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::service_fn;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PIPE_BYTES: usize = 10;

type Connection = (LimitedStream<DuplexStream>, DuplexStream, Shared);
type Shared = Arc<Mutex<ConnectionState>>;

fn connection() -> Connection {
    let limits = ServiceLimits::default();
    let (server, client) = tokio::io::duplex(PIPE_BYTES);
    let state = Shared::default();
    let stream = LimitedStream::new(server, limits, state.clone(), None);
    (stream, client, state)
}

fn timed<S>(service: S, state: &Shared) -> TimedService<S> {
    TimedService {
        service,
        state: state.clone(),
        response_timeout: ServiceLimits::default().response_timeout,
    }
}

fn empty_request() -> Request<axum::body::Body> {
    Request::new(axum::body::Body::empty())
}

/// Calls a service that responds with that many bytes.
async fn respond(state: &Shared, bytes: usize) -> axum::body::Body {
    let service = service_fn(move |_: Request<_>| async move {
        let response = Response::builder().header(header::CONTENT_LENGTH, bytes);
        Ok(response
            .body(Full::new(Bytes::from(vec![0; bytes])))
            .unwrap())
    });
    timed(service, state)
        .call(empty_request())
        .await
        .unwrap()
        .into_body()
}

/// Returns the number of seconds after which writing failed, and the error.
async fn seconds_until_failure(
    mut stream: LimitedStream<DuplexStream>,
) -> (u64, String, LimitedStream<DuplexStream>) {
    let began = Instant::now();
    let error = stream.write_all(&[0; 1 << 20]).await.unwrap_err();
    (began.elapsed().as_secs(), error.to_string(), stream)
}

/// Reads the pipe's bytes every so often, for ever.
fn read_every(mut client: DuplexStream, pause: Duration) {
    tokio::spawn(async move {
        let mut bytes = [0; PIPE_BYTES];
        while client.read_exact(&mut bytes).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn unread_response_hits_write_timeout() {
    let (stream, _client, _) = connection();
    let (seconds, error, _) = seconds_until_failure(stream).await;
    assert_eq!(seconds, 60);
    assert_eq!(error, "write_timeout");
}

#[tokio::test]
async fn long_response_lets_others_write() {
    let (server, _client) = tokio::io::duplex(4 * YIELD_BYTES);
    let mut stream = LimitedStream::new(server, ServiceLimits::default(), Shared::default(), None);
    let bytes = vec![0; YIELD_BYTES / 2];
    let mut write = || stream.write(&bytes).now_or_never().is_some();
    assert_eq!([write(), write(), write()], [true, true, false]);
    assert_eq!([write(), write(), write()], [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn trickling_reader_hits_response_deadline() {
    let (stream, client, state) = connection();
    read_every(client, 30 * SECOND);
    let _body = respond(&state, 1 << 20).await;
    let (seconds, error, _) = seconds_until_failure(stream).await;
    assert_eq!(seconds, 60 + 32, "a second for every 32 KiB");
    assert_eq!(error, "response_deadline");
}

#[tokio::test(start_paused = true)]
async fn pipelined_responses_share_one_timeout() {
    let (stream, client, state) = connection();
    read_every(client, 30 * SECOND);
    for _ in 0..10 {
        drop(respond(&state, 32 << 10).await);
        tokio::time::sleep(SECOND).await;
    }
    let (seconds, ..) = seconds_until_failure(stream).await;
    assert_eq!(seconds, 60 + 10 - 10);
}

#[tokio::test(start_paused = true)]
async fn flushed_response_has_no_deadline() {
    let (mut stream, client, state) = connection();
    read_every(client, SECOND);
    let body = respond(&state, 10).await;
    stream.flush().await.unwrap();
    assert!(
        state.lock().response_deadline.is_some(),
        "its body is not at its end"
    );
    drop(body);
    stream.flush().await.unwrap();
    assert_eq!(state.lock().response_deadline, None);
}

#[tokio::test(start_paused = true)]
async fn event_stream_has_no_deadline() {
    let (_stream, _client, state) = connection();
    let service = service_fn(async |_: Request<_>| Ok(Response::new(axum::body::Body::empty())));
    let _response = timed(service, &state).call(empty_request()).await.unwrap();
    assert_eq!(state.lock().response_deadline, None);
}

#[tokio::test(start_paused = true)]
async fn request_is_served_until_its_body_ends() {
    let (_stream, _client, state) = connection();
    assert!(!state.lock().is_serving);
    let body = respond(&state, 1).await;
    assert!(state.lock().is_serving);
    drop(body);
    assert!(!state.lock().is_serving);
}
