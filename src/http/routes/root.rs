//! `/`: the page for browsers, and for other clients a guide to the paths.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::http::extract::accept;
use crate::http::routes::assets;
use crate::http::state::AppState;

/// The page
///
/// For clients that do not accept HTML, a plain-text guide to these paths.
#[utoipa::path(
    get, path = "/", tag = "Documentation",
    responses((status = 200, description = "The page, or the guide.", content(
        (String = "text/plain", example = "Alleycat: the personal best output of every racer, …\n\nLeaderboards\n…"),
        (String = "text/html", example = "<!doctype html>\n<html lang=\"en\">\n…"),
    )))
)]
pub(crate) async fn root(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let html = accept::wants_html(&headers);
    if html && let Some(index) = assets::index(&headers, app.config.demo.is_some()) {
        return index;
    }
    let guide = guide(&origin(&headers));
    let (kind, text) = if html {
        ("text/html; charset=utf-8", page(&guide))
    } else {
        ("text/plain; charset=utf-8", guide)
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::VARY, "accept, host, x-forwarded-proto"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// Returns the URL of the service as the client says; only what a URL's host may contain is echoed.
fn origin(headers: &HeaderMap) -> String {
    let is_host = |host: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        (1..=255).contains(&host.len()) && host.bytes().all(plain)
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .filter(is_host);
    let secure = headers
        .get("x-forwarded-proto")
        .is_some_and(|scheme| scheme == "https");
    format!(
        "{}://{}",
        if secure { "https" } else { "http" },
        host.unwrap_or("localhost:8080")
    )
}

fn guide(origin: &str) -> String {
    format!(
        "\
Alleycat: the personal best output of every racer, at every second of every class.

Leaderboards
  curl '{origin}/classes/1/leaderboard?second=60&pretty'     at second 60
  curl '{origin}/classes/1/leaderboard?second=last&limit=10' at the last second anyone reached
  curl '{origin}/classes/1/leaderboard?pretty'               all-time, by each racer's best
  curl '{origin}/classes/1/leaderboard?around=17&limit=5'    around racer 17
  curl '{origin}/classes/1/leaderboard?racerId=17&output=250&around=17'
                                                             what if 17 rode 250?
  curl '{origin}/classes/1/leaderboard?format=csv'           as CSV; so with every list

Racers
  curl '{origin}/racers?name=hub&pretty'                     names that begin with hub
  curl '{origin}/racers/17?pretty'                           racer 17 in every class
  curl '{origin}/classes/1/racers/17?compare=2,3&pretty'     second by second, beside 2 and 3

Races
  curl '{origin}/classes/1/races?pretty'                     recent ones, the newest first
  curl '{origin}/classes/1/races/17/leaderboard?pretty'      here now in race 17, and later the results
  curl -N '{origin}/classes/1/live'                          as it happens (Server-Sent Events)

Histories
  curl --compressed '{origin}/classes/1/history'             the whole dataset of class 1
  curl --compressed '{origin}/classes/1/history?top=3&from=0&to=59'
                                                             the best 3 of the first minute
  curl -O '{origin}/class-1.gz'                              the dataset as a gzip file

AWS events, with an access key where there is one
  curl '{origin}/events' -H 'Authorization: Bearer KEY' -d @event.json
                                                             a data transformation, or S3's notification

Erasing, with an admin key
  curl -X DELETE -H 'Authorization: Bearer KEY' '{origin}/classes/1/racers/17?above=300&reason=glitch'
                                                             racer 17's outputs over 300 in class 1
  curl -X DELETE -H 'Authorization: Bearer KEY' '{origin}/racers/17'
                                                             all of racer 17, and the name
  curl -H 'Authorization: Bearer KEY' '{origin}/erasures?pretty'
                                                             what was erased, and why

The service
  curl '{origin}/classes?pretty'                             the classes, in numbers
  curl '{origin}/readyz'                                     whether it is ready
  curl '{origin}/openapi.json?pretty'                        all of this for machines (OpenAPI 3.1)
  {origin}/docs                                              and for a browser, to try
"
    )
}

fn page(guide: &str) -> String {
    let guide = guide.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Alleycat</title>\n\
         <p>The page is not in this binary. To get it, run <code>npm ci &amp;&amp; npm run build</code> in \
         <code>static/</code> and build the service again. Until then, \
         <a href=\"/docs\">try the API</a>, or:\n<pre>{guide}</pre>\n"
    )
}
