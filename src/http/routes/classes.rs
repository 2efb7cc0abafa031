//! `/classes`: the numbers of every class.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::effort::ClassId;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParams;
use crate::http::respond::format::{ListParams, Row};
use crate::http::state::AppState;
use crate::ledger::Ledger;

/// Every class
#[utoipa::path(
    get, path = "/classes", tag = "Classes", operation_id = "listClasses", params(ListParams),
    responses(
        (status = 200, description = "The classes, ordered by id.", content(
            (Vec<ClassResponse> = "application/json"),
            (String = "text/csv",
                example = "classId,name,racers,seconds,efforts,updatedAt,historyBytes,stateHash\r\n\
                           1,Class 1,40000,300,12000000,1619185789755,66300000,9f1c2b7d00a4e6f3\r\n"),
        )),
    )
)]
pub(crate) async fn classes(
    State(app): State<AppState>,
    QueryParams(query): QueryParams<ListParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut classes = Vec::new();
    for class in app.ledger.table().classes() {
        let name = app.config.class_names.name(class.get());
        classes.push(ClassResponse::of(&app.ledger, class, name).await);
    }
    Ok(query.format(&headers).respond(&classes))
}

/// An exercise class, in numbers.
#[derive(Serialize, ToSchema)]
#[schema(as = Class)]
#[serde(rename_all = "camelCase")]
struct ClassResponse {
    /// The class.
    class_id: ClassId,
    /// The class's name.
    #[schema(example = "Class 1")]
    name: String,
    /// Number of racers with an effort.
    #[schema(example = 40000)]
    racers: usize,
    /// Number of seconds with an effort.
    #[schema(example = 300)]
    seconds: usize,
    /// Number of efforts.
    #[schema(example = 12000000)]
    efforts: u64,
    /// Time of the last change, in milliseconds since 1970; null after a restart until the first change.
    #[schema(required, example = 1619185789755_u64)]
    updated_at: Option<u64>,
    /// Length of the gzip history as last built or read from the store, in bytes.
    #[schema(example = 66300000)]
    history_bytes: u64,
    /// 16 hexadecimal digits, equal where the efforts are equal, on every instance and after every restart.
    #[schema(example = "9f1c2b7d00a4e6f3")]
    state_hash: String,
}

impl ClassResponse {
    async fn of(ledger: &Ledger, class: ClassId, name: String) -> Self {
        let history_bytes = ledger.history_bytes(class).await;
        let summary = ledger.table().summary(class);
        Self {
            class_id: class,
            name,
            racers: summary.racers,
            seconds: summary.seconds,
            efforts: summary.efforts,
            updated_at: summary.updated_at_ms,
            history_bytes,
            state_hash: format!("{:016x}", summary.state_hash),
        }
    }
}

impl Row for ClassResponse {
    #[rustfmt::skip]
    const COLUMNS: &[&str] = &["classId", "name", "racers", "seconds", "efforts", "updatedAt", "historyBytes", "stateHash"];
}
