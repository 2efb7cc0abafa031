//! `/classes`: what every class holds, in numbers.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::effort::ClassId;
use crate::http::error::ApiError;
use crate::http::extract::params::Params;
use crate::http::respond::form::ListParams;
use crate::http::respond::form::{Form, Rows};
use crate::http::state::AppState;
use crate::ledger::Ledger;

/// An exercise class, in numbers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Class {
    /// The class.
    #[schema(value_type = u16, example = 1)]
    class_id: ClassId,
    /// What it is called.
    #[schema(example = "Class 1")]
    name: String,
    /// Racers with an effort.
    #[schema(example = 40000)]
    racers: usize,
    /// Seconds with an effort.
    #[schema(example = 300)]
    seconds: usize,
    /// Efforts.
    #[schema(example = 12000000)]
    efforts: u64,
    /// When something last changed, in milliseconds since 1970; null after a restart until the first change.
    #[schema(required, example = 1619185789755_u64)]
    updated_at: Option<u64>,
    /// The length of the gzip history as last built or read from the store, in bytes.
    #[schema(example = 66300000)]
    history_bytes: u64,
    /// Equal where the efforts are equal, on every instance and after every restart: 16 hexadecimal digits.
    #[schema(example = "9f1c2b7d00a4e6f3")]
    state_hash: String,
}

/// Every class
#[utoipa::path(
    get, path = "/classes", tag = "Classes", params(ListParams),
    responses(
        (status = 200, description = "The classes, by number.", content(
            (Vec<Class> = "application/json"),
            (String = "text/csv",
                example = "classId,name,racers,seconds,efforts,updatedAt,historyBytes,stateHash\r\n\
                           1,Class 1,40000,300,12000000,1619185789755,66300000,9f1c2b7d00a4e6f3\r\n"),
        )),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The service is starting or stopping.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn classes(
    State(app): State<AppState>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::take(&mut params, &headers)?;
    params.end()?;
    let mut classes = Vec::new();
    for class in app.ledger.table().classes() {
        classes.push(Class::of(&app.ledger, class).await);
    }
    Ok(form.of(&classes))
}

impl Class {
    async fn of(ledger: &Ledger, class: ClassId) -> Self {
        let history_bytes = ledger.history_bytes(class).await;
        let summary = ledger.table().summary(class);
        Self {
            class_id: class,
            name: format!("Class {class}"),
            racers: summary.racers,
            seconds: summary.seconds,
            efforts: summary.efforts,
            updated_at: summary.updated_at_ms,
            history_bytes,
            state_hash: format!("{:016x}", summary.state_hash),
        }
    }
}

impl Rows for Vec<Class> {
    fn columns(&self) -> Vec<&'static str> {
        vec![
            "classId",
            "name",
            "racers",
            "seconds",
            "efforts",
            "updatedAt",
            "historyBytes",
            "stateHash",
        ]
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.iter().map(|class| {
            vec![
                class.class_id.to_string(),
                class.name.clone(),
                class.racers.to_string(),
                class.seconds.to_string(),
                class.efforts.to_string(),
                class
                    .updated_at
                    .map(|at| at.to_string())
                    .unwrap_or_default(),
                class.history_bytes.to_string(),
                class.state_hash.clone(),
            ]
        })
    }
}
