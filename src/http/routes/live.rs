//! `/classes/{classId}/live`: changes of a class, pushed as Server-Sent Events.
//!
//! While a class has subscribers, one task writes its changes, 4 times a second. All subscribers
//! share the text. A subscription remembers only how far it has read. A slow reader skips events
//! that a newer one has replaced.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::path::ClassPath;
use crate::http::extract::query::{NoParams, QueryParams};
use crate::http::routes::races::RaceLeaderboard;
use crate::http::state::{AppState, Name, SharedState, stopped};
use crate::ledger::Ledger;
use crate::state::leaderboard::PageLimit;
use crate::state::recent_bests::{RecentBests, RecentBestsSubscription};

/// Interval between updates: short enough to look immediate.
const UPDATE_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum silence before a comment is sent: well under the 60 s after which proxies close a
/// connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Maximum number of rows of a standings event. The race's leaderboard path has all rows.
const STANDINGS_MAX: PageLimit = PageLimit::DEFAULT;

/// Maximum number of races in a feed: those that changed last. Twelve five-minute races, one after
/// another, take an hour.
const LIVE_RACES_MAX: usize = 12;

/// First text of a stream: tells clients to reconnect after 1 s.
const STREAM_START: &[u8] = b"retry: 1000\n\n";

/// Live changes of a class
///
/// Server-Sent Events, up to 4 times a second. `standings`: a race's leaderboard, as
/// `/classes/{classId}/races/{raceId}/leaderboard` returns it, up to 50 rows; a stream begins with one for each of
/// the 12 races that changed last. `bests`: the number of personal bests that became durable since the feed's previous
/// event, on any instance, and up to 50 of them. A slow reader misses overtaken events, with their numbers, and gets the
/// newest.
#[utoipa::path(
    get, path = "/classes/{classId}/live", tag = "Races", operation_id = "streamLive",
    params(ClassPath),
    responses(
        (status = 200, description = "Events; the `data` of each is JSON: a `RaceLeaderboard` or `NewBests`.",
            body = String, content_type = "text/event-stream",
            example = "retry: 1000\n\nevent: bests\ndata: {\"classId\":1,\"count\":40,\"bests\":[…]}\n\n"),
        (status = 400, description = "This path takes no parameters."),
    )
)]
pub(crate) async fn live(
    ClassPath { class }: ClassPath,
    State(app): State<AppState>,
    QueryParams(NoParams {}): QueryParams<NoParams>,
) -> Result<Response, ApiError> {
    let subscription = app.live.subscribe(&app, class)?;
    let start = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(STREAM_START)) });
    let events = stream::unfold(subscription, |mut subscription| async {
        Some((Ok(subscription.next().await?), subscription))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let events = start
        .chain(events)
        .take_until(Box::pin(stopped(app.stopping.clone())));
    Ok((headers, Body::from_stream(events)).into_response())
}

/// The subscriptions of all classes. A clone shares them.
#[derive(Clone)]
pub(crate) struct Live {
    classes: Arc<[LiveChannel]>,
    recent_bests: Arc<RecentBests>,
    permits: Arc<Semaphore>,
    subscribers_max: usize,
}

/// A class's feed.
struct LiveChannel {
    newest: watch::Sender<Arc<LiveState>>,
    /// Whether a task writes it.
    has_writer: Mutex<bool>,
}

/// The newest state of a class, as text.
#[derive(Clone, Default)]
struct LiveState {
    /// Version of the class's races.
    version: u64,
    /// Sorted by version, the most recently changed race last.
    races: Vec<RaceEvent>,
    /// Number of personal bests so far.
    count: u64,
    /// The bests event that was written last.
    bests: Bytes,
}

#[derive(Clone)]
struct RaceEvent {
    id: RaceId,
    version: u64,
    event: Bytes,
}

/// New personal bests.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewBests {
    /// The class.
    class_id: ClassId,
    /// Number of personal bests since the feed's previous event, which a slow reader may have missed.
    #[schema(example = 40)]
    count: u64,
    /// The latest of them.
    bests: Vec<NewBest>,
}

/// A new personal best.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewBest {
    /// The racer.
    racer_id: RacerId,
    /// The racer's name; null if unknown.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The second.
    second: Second,
    /// The output.
    output: Output,
}

impl Live {
    /// Creates the feeds for at most `subscribers_max` subscriptions of all classes together.
    pub(crate) fn new(ledger: &Ledger, subscribers_max: usize) -> Self {
        let channel = |_| LiveChannel {
            newest: watch::Sender::default(),
            has_writer: Mutex::default(),
        };
        let classes = ledger.table().classes().map(channel).collect();
        let recent_bests = Arc::new(RecentBests::new(ledger.bounds().classes));
        let observer = recent_bests.clone();
        ledger.observe_merges(move |efforts| observer.note(efforts));
        Self {
            classes,
            recent_bests,
            permits: Arc::new(Semaphore::new(subscribers_max)),
            subscribers_max,
        }
    }

    /// Returns the number of subscriptions.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers_max - self.permits.available_permits()
    }

    fn subscribe(&self, app: &SharedState, class: ClassId) -> Result<LiveSubscription, ApiError> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| {
            let max = self.subscribers_max;
            ApiError::unavailable(format!("there are {max} subscribers already"))
        })?;
        let channel = &self.classes[class.index()];
        let mut has_writer = channel.has_writer.lock();
        let newest = channel.newest.subscribe();
        if !*has_writer {
            *has_writer = true;
            let recent = RecentBestsSubscription::new(self.recent_bests.clone(), class);
            // The old state may name a racer that has been erased since.
            channel.newest.send_replace(Arc::new(LiveState {
                count: recent.count(),
                ..LiveState::default()
            }));
            tokio::spawn(self.clone().write(app.ledger.clone(), class, recent.into()));
        }
        drop(has_writer);
        // Personal bests before the subscription are not news.
        let count = newest.borrow().count;
        Ok(LiveSubscription {
            newest,
            version: 0,
            count,
            _permit: permit,
        })
    }

    /// Writes the changes of a class while it has subscribers.
    async fn write(self, ledger: Ledger, class: ClassId, recent: Arc<RecentBestsSubscription>) {
        let channel = &self.classes[class.index()];
        let mut ticks = interval(UPDATE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if channel.end_if_unsubscribed() {
                return;
            }
            let (before, ledger, recent) = (
                channel.newest.borrow().clone(),
                ledger.clone(),
                recent.clone(),
            );
            let writing =
                tokio::task::spawn_blocking(move || before.next_state(&ledger, class, &recent))
                    .await;
            match writing {
                Ok(Some(next)) => _ = channel.newest.send_replace(Arc::new(next)),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, %class, "live update failed"),
            }
        }
    }
}

impl LiveChannel {
    /// Returns whether there is no subscriber any more. Then the writer must end, and the next
    /// subscriber starts another.
    fn end_if_unsubscribed(&self) -> bool {
        let mut has_writer = self.has_writer.lock();
        *has_writer = self.newest.receiver_count() > 0;
        !*has_writer
    }
}

impl LiveState {
    /// Returns the new state, or `None` if nothing changed.
    fn next_state(
        &self,
        ledger: &Ledger,
        class: ClassId,
        recent: &RecentBestsSubscription,
    ) -> Option<Self> {
        let version = ledger.races().shown_version(class);
        let recent = recent.since(self.count);
        if version == self.version && recent.is_none() {
            return None;
        }
        let mut next = Self {
            version,
            ..self.clone()
        };
        if version != self.version {
            next.races = self.race_events(ledger, class);
        }
        if let Some(recent) = recent {
            let count = recent.count.saturating_sub(self.count);
            let latest = recent.latest.iter().rev();
            let latest = latest.take(usize::try_from(count).unwrap_or(usize::MAX));
            let erasures = ledger.erasures();
            let bests = latest.filter(|it| !erasures.any_covers(it, 0));
            let bests = bests.map(|it| NewBest {
                racer_id: it.racer,
                name: ledger.names().get(it.racer),
                second: it.second,
                output: it.output,
            });
            let bests = NewBests {
                class_id: class,
                count,
                bests: bests.collect(),
            };
            (next.count, next.bests) = (recent.count, event("bests", &bests));
        }
        Some(next)
    }

    /// Returns the events of the current races. Reuses the text of unchanged ones.
    fn race_events(&self, ledger: &Ledger, class: ClassId) -> Vec<RaceEvent> {
        let mut races = ledger.races().summaries(class);
        races.sort_unstable_by_key(|race| race.version);
        races.drain(..races.len().saturating_sub(LIVE_RACES_MAX));
        let mut events: Vec<RaceEvent> = Vec::with_capacity(races.len());
        for now in races {
            let is_current = |it: &&RaceEvent| it.id == now.race && it.version == now.version;
            let event = self.races.iter().find(is_current).cloned().or_else(|| {
                let board = RaceLeaderboard::first(ledger, class, now.race, STANDINGS_MAX)?;
                Some(RaceEvent {
                    id: now.race,
                    version: now.version,
                    event: event("standings", &board),
                })
            });
            events.extend(event);
        }
        events
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("events have string keys and finite numbers");
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// A subscription, and how much of the feed was sent.
struct LiveSubscription {
    newest: watch::Receiver<Arc<LiveState>>,
    version: u64,
    count: u64,
    _permit: OwnedSemaphorePermit,
}

impl LiveSubscription {
    /// Returns the next event, or a comment after a long silence.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.unsent() {
                return Some(event);
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE_INTERVAL) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// Returns an event of the newest state that was not sent yet.
    fn unsent(&mut self) -> Option<Bytes> {
        let newest = self.newest.borrow_and_update();
        if let Some(race) = newest.races.iter().find(|it| it.version > self.version) {
            self.version = race.version;
            return Some(race.event.clone());
        }
        (newest.count > self.count && !newest.bests.is_empty()).then(|| {
            self.count = newest.count;
            newest.bests.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_readers_miss_overtaken_events() {
        let (state, newest) = watch::channel(Arc::new(LiveState::default()));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut subscription = LiveSubscription {
            newest,
            version: 0,
            count: 0,
            _permit: permit,
        };
        let race = |id, version, text: &'static str| RaceEvent {
            id: RaceId(id),
            version,
            event: text.into(),
        };
        let show = |races: Vec<RaceEvent>, count, bests: &'static str| {
            state.send_replace(Arc::new(LiveState {
                version: 9,
                races,
                count,
                bests: bests.into(),
            }));
        };
        show(
            vec![race(1, 1, "first of 1"), race(2, 2, "first of 2")],
            0,
            "",
        );
        assert_eq!(subscription.next().await.unwrap(), "first of 1");
        show(
            vec![race(2, 2, "first of 2"), race(1, 3, "second of 1")],
            5,
            "five",
        );
        show(
            vec![race(2, 2, "first of 2"), race(1, 4, "third of 1")],
            7,
            "seven",
        );
        assert_eq!(subscription.next().await.unwrap(), "first of 2");
        assert_eq!(subscription.next().await.unwrap(), "third of 1");
        assert_eq!(subscription.next().await.unwrap(), "seven");
    }
}
