//! `replay --dry-run`: records are compared with the service's histories, and not delivered.
//!
//! Each delivery is decoded as the service decodes it, compared with the state before it, and
//! merged into the local copy. With `--concurrency 1` a real run has the same counts, except for
//! erased efforts, full classes, and bodies over `--max-body-size`: only the service knows these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use crate::domain::effort::{Bounds, ClassId, Second};
use crate::firehose_client::{
    RecordCounts, encode_delivery, http_client_builder, is_loopback, now_ms,
};
use crate::ingest::envelope::Envelope;
use crate::keys::Secret;
use crate::state::table::{Newcomers, Table};
use crate::storage::history_file::StoredHistory;

/// Maximum time to connect to the service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum pause in a download.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of the gzipped records of a delivery when gunzipped, in bytes: the default of the
/// service's `--max-body-size`.
const GUNZIPPED_BYTES_MAX: usize = 100 << 20;

/// A local copy of the service's state. Clones share it.
#[derive(Clone)]
pub(crate) struct DryRun(Arc<LocalState>);

struct LocalState {
    bounds: Bounds,
    table: Table,
    /// Held while a delivery is compared and merged.
    commit_lock: Mutex<()>,
}

/// One entry of `/classes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClassEntry {
    class_id: ClassId,
    efforts: u64,
}

impl DryRun {
    /// Downloads the histories of the service whose deliveries go to `to`.
    ///
    /// # Errors
    /// The service does not respond, refuses the query key, or is not of this project.
    pub(crate) async fn download(to: &Url, query_key: Option<&Secret>) -> anyhow::Result<Self> {
        let service = ServiceReader::new(to, query_key)?;
        let second_max = service.second_max().await?;
        let classes: Vec<ClassEntry> = serde_json::from_slice(&service.get("classes").await?)
            .context("/classes is not the list of this project")?;
        let bounds = Bounds {
            classes: u16::try_from(classes.len()).context("/classes is too long")?,
            second_max,
        };
        let table = Table::new(bounds.classes);
        for ClassEntry { class_id, efforts } in classes {
            anyhow::ensure!(table.has(class_id), "/classes has gaps");
            if efforts > 0 {
                let name = format!("class-{class_id}.gz");
                let history = service.get(&name).await?;
                tracing::info!(class = %class_id, bytes = history.len(), "history downloaded");
                let read = move || StoredHistory::open(&history)?.read(Second(second_max));
                let read = tokio::task::spawn_blocking(read).await;
                let class = read.expect("reading does not panic, and is not cancelled");
                table.insert_if_empty(class_id, class.with_context(|| name)?);
            }
        }
        Ok(Self(Arc::new(LocalState {
            bounds,
            table,
            commit_lock: Mutex::default(),
        })))
    }

    /// Returns the counts that the service would send for a delivery of these records, as far as
    /// the copy of its state decides them.
    pub(crate) async fn deliver(&self, records: Vec<Bytes>) -> RecordCounts {
        let state = self.0.clone();
        let comparing = tokio::task::spawn_blocking(move || state.commit(&records));
        comparing
            .await
            .expect("comparing does not panic, and is not cancelled")
    }
}

impl LocalState {
    fn commit(&self, records: &[Bytes]) -> RecordCounts {
        let body = encode_delivery("dry-run", now_ms(), records, false);
        let envelope = Envelope::parse(&body).expect("it is a delivery");
        let decoded = envelope.decode(&self.bounds, now_ms(), GUNZIPPED_BYTES_MAX);
        let mut rejected = BTreeMap::new();
        for record in &decoded.rejected {
            let reason = record.rejection.reason.as_str().to_owned();
            *rejected.entry(reason).or_default() += 1;
        }
        let _ordered = self.commit_lock.lock();
        let efforts = &decoded.efforts;
        let mut newcomers = Newcomers::default();
        let comparison = self.table.compare(efforts, usize::MAX, &mut newcomers);
        self.table.merge(efforts, 0);
        RecordCounts {
            improvements: comparison.improving.len() as u64,
            rejected,
        }
    }
}

/// A client of the service's read paths.
struct ServiceReader<'k> {
    client: Client,
    /// Ends with `/`.
    base: Url,
    query_key: Option<&'k Secret>,
}

impl<'k> ServiceReader<'k> {
    fn new(to: &Url, query_key: Option<&'k Secret>) -> anyhow::Result<Self> {
        let path = to.path().strip_suffix("firehose");
        let path = path.filter(|path| path.ends_with('/')).context(
            "--dry-run reads the histories beside the endpoint, so --to must end with /firehose",
        )?;
        let mut base = to.clone();
        base.set_path(path);
        base.set_query(None);
        let client = http_client_builder()
            .redirect(reqwest::redirect::Policy::none()) // as a real run
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT);
        let client = if is_loopback(to) {
            client.no_proxy()
        } else {
            client
        };
        Ok(Self {
            client: client.build().context("the HTTP client")?,
            base,
            query_key,
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let url = self.base.join(path).context("the path of --to")?;
        let cannot_read = || format!("cannot read {url}");
        let mut request = self.client.get(url.clone());
        if let Some(key) = self.query_key {
            request = request.bearer_auth(key.reveal());
        }
        let response = request.send().await.with_context(cannot_read)?;
        let status = response.status();
        anyhow::ensure!(
            status != StatusCode::UNAUTHORIZED,
            "{url} needs another --query-key"
        );
        anyhow::ensure!(status.is_success(), "{url} responds {status}");
        response.bytes().await.with_context(cannot_read)
    }

    /// Returns the last second that the service accepts, from its OpenAPI document.
    async fn second_max(&self) -> anyhow::Result<u32> {
        let document: serde_json::Value =
            serde_json::from_slice(&self.get("openapi.json").await?).unwrap_or_default();
        let parameters = &document["paths"]["/classes/{classId}/history"]["get"]["parameters"];
        let parameters = parameters.as_array().map(Vec::as_slice).unwrap_or_default();
        let from = parameters.iter().find(|it| it["name"] == "from");
        from.and_then(|from| from["schema"]["maximum"].as_u64())
            .and_then(|second| u32::try_from(second).ok())
            .context("the OpenAPI document is not of this project: it has no last second")
    }
}
