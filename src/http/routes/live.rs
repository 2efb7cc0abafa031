//! `/classes/{classId}/live`: what happens in a class, pushed as Server-Sent Events.
//!
//! One task a class, for as long as anyone listens, writes what changed a few times a second; the text is shared by all
//! listeners. A listener holds the newest state and how much of it was sent, and nothing else: one who reads slowly
//! misses what was overtaken, and gets what is so now.

use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::params::{Class, Params};
use crate::http::routes::races::RaceLeaderboard;
use crate::http::state::{AppState, Name};
use crate::ledger::Ledger;
use crate::state::races::CLASS_RACES_MAX;
use crate::state::recent_bests::{RecentBests, RecentBestsSubscription};

/// From one look at what changed to the next: often enough to look like at once.
const EVERY: Duration = Duration::from_millis(250);

/// How long a connection is silent before a comment says that it is still there, well within the minute after which
/// proxies cut it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The rows of a race that are pushed; whoever wants more asks for its leaderboard.
const STANDINGS_MAX: usize = 50;

/// How a connection begins: when it is cut, come again after a second.
const BEGINNING: &[u8] = b"retry: 1000\n\n";

/// What goes on in a class
///
/// Server-Sent Events, a few times a second while something changes. `standings`: a race's leaderboard, as
/// `/classes/{classId}/races/{raceId}/leaderboard` has it, up to 50 rows; a connection begins with one for every recent
/// race. `bests`: how many personal bests became durable since the one before, whichever instance took them in, and up
/// to 50 of them. Who reads slowly misses events that were overtaken, and gets the newest.
#[utoipa::path(
    get, path = "/classes/{classId}/live", tag = "Races",
    params(("classId" = u16, Path, description = "The exercise class.", minimum = 1, example = 1)),
    responses(
        (status = 200, description = "Events; the `data` of each is JSON of the form that its name stands for here.",
            body = LiveEvents, content_type = "text/event-stream",
            example = "retry: 1000\n\nevent: bests\ndata: {\"classId\":1,\"count\":40,\"bests\":[…]}\n\n"),
        (status = 400, description = "There is a parameter; none is taken.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "No such class.", body = ApiError, content_type = "application/problem+json"),
        (status = 503, description = "The service is starting or stopping, or has as many listeners as it may have.",
            body = ApiError, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn live(
    Class(class): Class,
    State(app): State<AppState>,
    params: Params,
) -> Result<Response, ApiError> {
    params.end()?;
    let listener = app.live.listen(&app, class)?;
    let beginning = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(BEGINNING)) });
    let events = stream::unfold(listener, |mut listener| async {
        Some((Ok(listener.next().await?), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((
        headers,
        Body::from_stream(stream::StreamExt::chain(beginning, events)),
    )
        .into_response())
}

/// Everybody who listens. A clone shares them.
#[derive(Clone)]
pub(crate) struct Live {
    classes: Arc<[Channel]>,
    recent_bests: Arc<RecentBests>,
    room: Arc<Semaphore>,
    listeners_max: usize,
}

/// What is pushed to a class's listeners.
struct Channel {
    newest: watch::Sender<Arc<Newest>>,
    /// Whether somebody writes it.
    is_written: Mutex<bool>,
}

/// The newest state of a class, as text.
#[derive(Clone, Default)]
struct Newest {
    /// The class's races at that version.
    version: u64,
    /// By version: those that changed last come last.
    races: Vec<Race>,
    /// How many personal bests there were.
    count: u64,
    /// The last of them.
    bests: Bytes,
}

#[derive(Clone)]
struct Race {
    id: RaceId,
    version: u64,
    event: Bytes,
}

/// The events by their names.
#[derive(ToSchema)]
#[expect(dead_code, reason = "tells what is pushed")]
struct LiveEvents {
    /// A race's leaderboard changed.
    standings: RaceLeaderboard,
    /// Personal bests became durable.
    bests: NewBests,
}

/// New personal bests.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewBests {
    /// The class.
    #[schema(value_type = u16, example = 1)]
    class_id: ClassId,
    /// How many there are since the event before.
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
    #[schema(value_type = u64, example = 17)]
    racer_id: RacerId,
    /// The racer's name; null where it is not known.
    #[schema(value_type = Option<String>, required, example = "Hubert")]
    name: Name,
    /// The second.
    #[schema(value_type = u32, example = 60)]
    second: Second,
    /// The output.
    #[schema(value_type = f64, minimum = 0, example = 187.25)]
    output: Output,
}

impl Live {
    /// For at most so many, of all classes together.
    pub(crate) fn new(ledger: &Ledger, listeners_max: usize) -> Self {
        let channel = |_| Channel {
            newest: watch::Sender::default(),
            is_written: Mutex::default(),
        };
        let classes = ledger.table().classes().map(channel).collect();
        let recent_bests = Arc::new(RecentBests::new(ledger.bounds().classes));
        let observer = recent_bests.clone();
        ledger.observe_merges(move |efforts| observer.note(efforts));
        Self {
            classes,
            recent_bests,
            room: Arc::new(Semaphore::new(listeners_max)),
            listeners_max,
        }
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.listeners_max - self.room.available_permits()
    }

    fn listen(&self, app: &AppState, class: ClassId) -> Result<Listener, ApiError> {
        let room = self.room.clone().try_acquire_owned();
        let full = || {
            ApiError::unavailable(format!(
                "there are {} listeners already",
                self.listeners_max
            ))
        };
        let room = room.map_err(|_| full())?;
        let channel = &self.classes[class.index()];
        let mut is_written = channel.is_written.lock();
        let newest = channel.newest.subscribe();
        if !*is_written {
            *is_written = true;
            tokio::spawn(self.clone().write(app.ledger.clone(), class));
        }
        drop(is_written);
        // What was new before somebody came is not for them.
        let count = newest.borrow().count;
        Ok(Listener {
            newest,
            version: 0,
            count,
            stopping: app.stopping.clone(),
            _room: room,
        })
    }

    /// Writes what changes in a class for as long as anyone listens.
    async fn write(self, ledger: Ledger, class: ClassId) {
        let watch = Arc::new(RecentBestsSubscription::new(
            self.recent_bests.clone(),
            class,
        ));
        let channel = &self.classes[class.index()];
        channel.newest.send_replace(Arc::new(Newest {
            count: watch.count(),
            ..Newest::default()
        }));
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if channel.is_left() {
                return;
            }
            let (before, ledger, watch) = (
                channel.newest.borrow().clone(),
                ledger.clone(),
                watch.clone(),
            );
            let writing =
                tokio::task::spawn_blocking(move || before.after(&ledger, class, &watch)).await;
            match writing {
                Ok(Some(after)) => _ = channel.newest.send_replace(Arc::new(after)),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, %class, "what goes on cannot be told"),
            }
        }
    }
}

impl Channel {
    /// Whether nobody listens any more; then nobody writes, either.
    fn is_left(&self) -> bool {
        let mut is_written = self.is_written.lock();
        *is_written = self.newest.receiver_count() > 0;
        !*is_written
    }
}

impl Newest {
    /// What is so now, if that differs.
    fn after(
        &self,
        ledger: &Ledger,
        class: ClassId,
        watch: &RecentBestsSubscription,
    ) -> Option<Self> {
        let races = ledger.races();
        let version = races.version(class);
        let fresh = watch.since(self.count);
        if version == self.version && fresh.is_none() {
            return None;
        }
        let mut after = Self {
            version,
            ..self.clone()
        };
        if version != self.version {
            let mut texts: Vec<Race> = Vec::with_capacity(CLASS_RACES_MAX);
            for now in races.summaries(class) {
                let known = self
                    .races
                    .iter()
                    .find(|it| it.id == now.race && it.version == now.version);
                let text = known.cloned().or_else(|| {
                    let board = RaceLeaderboard::of(ledger, class, now.race, 0, STANDINGS_MAX)?;
                    Some(Race {
                        id: now.race,
                        version: now.version,
                        event: event("standings", &board),
                    })
                });
                texts.extend(text);
            }
            texts.sort_unstable_by_key(|it| it.version);
            after.races = texts;
        }
        if let Some(fresh) = fresh {
            let count = fresh.count.saturating_sub(self.count);
            let told = fresh
                .latest
                .iter()
                .rev()
                .take(usize::try_from(count).unwrap_or(usize::MAX));
            let erasures = ledger.erasures();
            let told = told.filter(|it| !erasures.cover(it, 0)).map(|it| NewBest {
                racer_id: it.racer,
                name: ledger.names().get(it.racer),
                second: it.second,
                output: it.output,
            });
            let bests = NewBests {
                class_id: class,
                count,
                bests: told.collect(),
            };
            (after.count, after.bests) = (fresh.count, event("bests", &bests));
        }
        Some(after)
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("events have string keys and finite numbers");
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// One who listens, and what was sent.
struct Listener {
    newest: watch::Receiver<Arc<Newest>>,
    version: u64,
    count: u64,
    stopping: watch::Receiver<bool>,
    _room: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event, or a comment where there is none for long; `None` when the service stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            if let Some(event) = self.unsent() {
                return Some(event);
            }
            tokio::select! {
                _ = self.stopping.wait_for(|&stopping| stopping) => return None,
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// An event of the newest state that was not sent yet.
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
    async fn a_slow_reader_gets_the_newest_of_every_race_and_nothing_that_was_overtaken() {
        let (state, newest) = watch::channel(Arc::new(Newest::default()));
        let (stop, stopping) = watch::channel(false);
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut listener = Listener {
            newest,
            version: 0,
            count: 0,
            stopping,
            _room: room,
        };
        let race = |id, version, text: &'static str| Race {
            id: RaceId(id),
            version,
            event: text.into(),
        };
        let show = |races: Vec<Race>, count, bests: &'static str| {
            state.send_replace(Arc::new(Newest {
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
        assert_eq!(listener.next().await.unwrap(), "first of 1");
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
        assert_eq!(listener.next().await.unwrap(), "first of 2");
        assert_eq!(listener.next().await.unwrap(), "third of 1");
        assert_eq!(listener.next().await.unwrap(), "seven");
        stop.send_replace(true);
        assert_eq!(listener.next().await, None);
    }
}
