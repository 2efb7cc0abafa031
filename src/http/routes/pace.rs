//! `/classes/{classId}/pace`: outputs at every second of a class, to ride against.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, ToSchema};

use crate::domain::effort::{ClassId, INTEGER_MAX, RacerId, Second, serialize_optional_number};
use crate::http::error::ApiError;
use crate::http::extract::path::ClassPath;
use crate::http::extract::query::{Param, ParamValue, QueryParams};
use crate::http::extract::values::{IntegerParam, List, ListItem, PrettyParam, number_schema};
use crate::http::respond::board::ResponsePreferences;
use crate::http::respond::format::{JSON, json_text};
use crate::http::state::{AppState, Name};
use crate::ledger::Ledger;
use crate::state::pace::{Pace, PaceOutputs, PaceTarget, Percentile, racer_outputs};

/// Maximum number of curves: nobody tells more apart.
const CURVES_MAX: usize = 20;

/// The query parameters of pace curves.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PaceParams {
    /// Percentiles, from 0 to 100, separated by commas or in repeated parameters. `percentile`,
    /// `rank` and `racers` together: 1 to 20 values.
    #[param(inline, style = Form, explode = false, example = json!([99, 90, 50]))]
    percentile: PercentilesParam,
    /// Ranks, from 1, separated by commas or in repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([1, 10]))]
    rank: RanksParam,
    /// Racers, separated by commas or in repeated parameters.
    #[param(inline, style = Form, explode = false, example = json!([17]))]
    racers: PacersParam,
    /// Format the JSON for people.
    #[param(inline)]
    pretty: PrettyParam,
}

type PercentilesParam = Param<List<Percentile, CURVES_MAX>>;
type RanksParam = Param<List<NonZeroUsize, CURVES_MAX>>;
type PacersParam = Param<List<RacerId, CURVES_MAX>>;

impl ParamValue for Percentile {
    fn expected() -> String {
        "a number from 0 to 100".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        Self::new(text.parse().ok()?)
    }

    fn schema() -> Schema {
        number_schema().maximum(Some(100)).into()
    }
}

impl ListItem for Percentile {
    const PLURAL: &'static str = "numbers from 0 to 100";
}

impl IntegerParam for NonZeroUsize {
    fn range() -> RangeInclusive<u64> {
        1..=INTEGER_MAX
    }

    fn from_integer(integer: u64) -> Option<Self> {
        Self::new(usize::try_from(integer).unwrap_or(usize::MAX))
    }
}

impl ListItem for NonZeroUsize {
    const PLURAL: &'static str = "ranks from 1";
}

/// Curves to ride against
///
/// Each curve has an output for every second of the class. The output is null if the rank is beyond
/// the second's last racer, or if the racer has no best there. The curve of a percentile has, in each
/// second, the lowest output with at least this share of racers strictly below it, or else the highest
/// output. The curve of a rank has the output at that rank, where
/// equal outputs count one by one. A racer's curve has the racer's bests. The curves are those of
/// `percentile`, then of `rank`, then of `racers`.
#[utoipa::path(
    get, path = "/classes/{classId}/pace", tag = "Leaderboards", operation_id = "getPace",
    params(
        ClassPath,
        PaceParams,
        ("If-None-Match" = String, Header, description = "ETags of versions that the client has."),
    ),
    responses(
        (status = 200, description = "The curves.", body = PaceResponse, headers(
            ("ETag" = String, description = "Strong; equal for equal content."),
        )),
        (status = 304, description = "The client has this version."),
    )
)]
pub(crate) async fn pace(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(query): QueryParams<PaceParams>,
    preferences: ResponsePreferences,
) -> Result<Response, ApiError> {
    let pretty = query.pretty.0.unwrap_or_default();
    let (targets, racers) = query.curves()?;
    let table = app.ledger.table();
    let pace = match app.pace.cached(table, class, &targets) {
        Some(pace) => pace,
        None => {
            let outputs = table.summary(class).efforts;
            let outputs = usize::try_from(outputs).unwrap_or(usize::MAX);
            let (state, targets) = (app.clone(), targets.clone());
            let work = move || state.pace.curves(state.ledger.table(), class, &targets);
            app.heavy_workers.work(outputs, work).await?
        }
    };
    let response = PaceResponse::new(&app.ledger, class, pace, &targets, &racers);
    let text = json_text(&response, pretty);
    Ok(preferences.respond_with(JSON, text.into(), None))
}

impl PaceParams {
    /// Returns the targets and the racers of the curves.
    fn curves(self) -> Result<(Vec<PaceTarget>, Vec<RacerId>), ApiError> {
        let percentiles = self
            .percentile
            .0
            .map_or(vec![], |List(percentiles)| percentiles);
        let ranks = self.rank.0.map_or(vec![], |List(ranks)| ranks);
        let racers = self.racers.0.map_or(vec![], |List(racers)| racers);
        let curves = percentiles.len() + ranks.len() + racers.len();
        if curves == 0 {
            return Err(ApiError::bad_request(format!(
                "percentile, rank and racers are missing; give 1 to {CURVES_MAX} of these curves"
            )));
        }
        if curves > CURVES_MAX {
            return Err(ApiError::bad_request(format!(
                "percentile has {} values, rank {} and racers {}; together they must be at most {CURVES_MAX}",
                percentiles.len(),
                ranks.len(),
                racers.len()
            )));
        }
        let percentiles = percentiles.into_iter().map(PaceTarget::Percentile);
        let targets = percentiles.chain(ranks.into_iter().map(PaceTarget::Rank));
        Ok((targets.collect(), racers))
    }
}

/// Curves to ride against.
#[derive(Serialize, ToSchema)]
#[schema(as = Pace)]
#[serde(rename_all = "camelCase")]
struct PaceResponse {
    /// The class.
    class_id: ClassId,
    /// The seconds with an effort, ascending.
    seconds: Vec<Second>,
    /// The curves: of `percentile`, then of `rank`, then of `racers`, each in the query's order.
    curves: Vec<PaceCurve>,
}

/// A curve to ride against.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PaceCurve {
    /// Only on the curve of a percentile: the percentile.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_number"
    )]
    #[schema(nullable = false, minimum = 0, maximum = 100, example = 90)]
    percentile: Option<f64>,
    /// Only on the curve of a rank: the rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, nullable = false, minimum = 1, example = 10)]
    rank: Option<NonZeroUsize>,
    /// Only on the curve of a racer: the racer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    racer_id: Option<RacerId>,
    /// Only on the curve of a racer: the racer's name; null if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "Hubert")]
    name: Option<Name>,
    /// The output at each of the seconds; null if the curve has no output there.
    #[serde(serialize_with = "serialize_outputs")]
    #[schema(value_type = Vec<Option<f64>>, example = json!([187.25, null]))]
    outputs: PaceOutputs,
}

fn serialize_outputs<S: Serializer>(
    outputs: &PaceOutputs,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(outputs.iter())
}

impl PaceResponse {
    fn new(
        ledger: &Ledger,
        class: ClassId,
        pace: Pace,
        targets: &[PaceTarget],
        racers: &[RacerId],
    ) -> Self {
        let of_target = |(target, outputs): (&PaceTarget, PaceOutputs)| match *target {
            PaceTarget::Percentile(percentile) => PaceCurve {
                percentile: Some(percentile.get()),
                ..PaceCurve::of(outputs)
            },
            PaceTarget::Rank(rank) => PaceCurve {
                rank: Some(rank),
                ..PaceCurve::of(outputs)
            },
        };
        let of_racer = |&racer: &RacerId| {
            let outputs = racer_outputs(ledger.table(), class, racer, &pace.seconds);
            PaceCurve {
                racer_id: Some(racer),
                name: Some(ledger.names().get(racer)),
                ..PaceCurve::of(outputs.into())
            }
        };
        let curves = targets.iter().zip(pace.curves).map(of_target);
        Self {
            class_id: class,
            seconds: pace.seconds.to_vec(),
            curves: curves.chain(racers.iter().map(of_racer)).collect(),
        }
    }
}

impl PaceCurve {
    fn of(outputs: PaceOutputs) -> Self {
        Self {
            percentile: None,
            rank: None,
            racer_id: None,
            name: None,
            outputs,
        }
    }
}
