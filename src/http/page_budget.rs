//! The memory budget of pages: responses that are built whole, and kept while they are sent.
//!
//! Histories are sent piece by piece, and have limits of their own.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::memory_budget::{MemoryBudget, guarded};

/// Memory budget of all pages, in bytes. A leaderboard of 1,000 rows has 60 kB; curves of 21 racers
/// have 1 MB.
const PAGES_BYTES_MAX: usize = 1 << 30;

/// Maximum size of a page that bypasses the budget, in bytes, so that large pages cannot starve the
/// usual ones. Over all connections these are 80 MiB.
const SMALL_PAGE_BYTES_MAX: u64 = 8 << 10;

/// Returns the budget of pages.
pub(crate) fn new() -> MemoryBudget {
    MemoryBudget::new(PAGES_BYTES_MAX)
}

/// Middleware: responds 503 in place of a large page when the budget is used up. The page holds its
/// share until it is sent, or its client is gone.
pub(crate) async fn limit_pages(
    State(budget): State<MemoryBudget>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact();
    let Some(bytes) = bytes.filter(|&bytes| bytes > SMALL_PAGE_BYTES_MAX) else {
        return response;
    };
    let Some(permit) = budget.try_acquire(usize::try_from(bytes).unwrap_or(usize::MAX)) else {
        return ApiError::unavailable("response memory limit reached").into_response();
    };
    // Requests that arrive together on one connection are served without a pause. Between their
    // large pages, other connections are served too.
    tokio::task::yield_now().await;
    let (parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(page) => Response::from_parts(parts, Body::from(guarded(page, permit))),
        Err(error) => ApiError::unavailable(error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use futures_util::FutureExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn large_page_yields_the_thread_once() {
        let page = || async { "a".repeat(usize::try_from(SMALL_PAGE_BYTES_MAX).unwrap() + 1) };
        let limit_pages = from_fn_with_state(new(), limit_pages);
        let router = Router::new().route("/", get(page)).layer(limit_pages);
        let request = Request::get("/").body(Body::empty()).unwrap();
        let mut response = pin!(router.oneshot(request));
        assert!(response.as_mut().now_or_never().is_none());
        assert_eq!(response.await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn large_page_without_budget_gets_503() {
        let page = |bytes: u64| "a".repeat(usize::try_from(bytes).unwrap());
        let router = Router::new()
            .route(
                "/small",
                get(move || async move { page(SMALL_PAGE_BYTES_MAX) }),
            )
            .route(
                "/large",
                get(move || async move { page(SMALL_PAGE_BYTES_MAX + 1) }),
            );
        let status = async |path: &str, budget_bytes: usize| {
            let budget = MemoryBudget::new(budget_bytes);
            let router = router
                .clone()
                .layer(from_fn_with_state(budget, limit_pages));
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.oneshot(request).await.unwrap().status().as_u16()
        };
        assert_eq!(status("/small", 0).await, 200);
        assert_eq!(status("/large", 0).await, 503);
        assert_eq!(status("/large", 1 << 20).await, 200);
    }
}
