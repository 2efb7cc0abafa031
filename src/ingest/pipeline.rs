//! The pipeline of ingestion: decodes records on a pool of threads, commits them, and quarantines
//! what is rejected.
//!
//! A result is returned only when every effort and every quarantined record is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::domain::effort::Bounds;
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::gzip::{self, GunzipError};
use crate::ingest::admission::InFlightGuard;
use crate::ingest::decode_pool::DecodePool;
use crate::ingest::decoded_records::{DecodedRecords, EffortOrigins, RecordGunzip, RejectedRecord};
use crate::ingest::envelope::Envelope;
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};
use crate::ledger::{Ledger, Quarantined, WriteBatch};
use crate::memory_budget::MemoryPermit;
use crate::observability;

/// Maximum number of rejected records that are logged per delivery. The quarantine has all of them.
const LOGGED_REJECTIONS_MAX: usize = 10;

/// Number of records that are decoded before other threads may run: about 0.1 ms. Without this, the
/// scheduler lets a decoding thread run up to 3 ms, even at low priority.
const YIELD_RECORDS: usize = 256;

/// Maximum size of the gzip records without an envelope when gunzipped, in bytes, all together. Only
/// damaged records, and gzip within gzip, are still gzip there.
const GUNZIPPED_BYTES_MAX: usize = 64 << 20;

/// Decodes and commits records. Clones share the pool and the ledger.
#[derive(Clone)]
pub(crate) struct IngestPipeline {
    ledger: Ledger,
    pool: DecodePool,
}

/// A delivery whose body was read.
pub(crate) struct DeliveryRequest {
    /// The request id of the headers.
    pub(crate) header_id: Option<String>,
    /// Receives the request id of the body as soon as it is decoded, so that every later error can
    /// repeat it.
    pub(crate) body_id: Arc<OnceLock<String>>,
    pub(crate) is_gzip: bool,
    pub(crate) body: Bytes,
    /// Maximum length of the gunzipped body, and of its gunzipped records together, in bytes.
    pub(crate) bytes_max: usize,
    pub(crate) receipt_ms: u64,
}

/// The result of a request whose every effort is durable.
#[derive(Debug)]
pub(crate) struct IngestResult {
    /// The request id, or a substitute for the log.
    pub(crate) request_id: String,
    /// Number of records.
    pub(crate) records: usize,
    /// Number of efforts in them.
    pub(crate) efforts: usize,
    /// Number of efforts that were new personal bests.
    pub(crate) improvements: usize,
    /// Number of quarantined records by reason.
    pub(crate) rejected: BTreeMap<&'static str, usize>,
    /// Duration of the commit. If the commit rejects records, it includes decoding these again,
    /// and a second commit that quarantines them.
    pub(crate) commit_duration: Duration,
}

impl IngestResult {
    /// Returns the number of quarantined records.
    pub(crate) fn quarantined(&self) -> usize {
        self.rejected.values().sum()
    }
}

impl IngestPipeline {
    /// Returns a pipeline into `ledger`, and starts its threads.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            pool: DecodePool::start(),
        }
    }

    /// Checks that the ledger accepts deliveries, and returns the current time. Called before a body
    /// is read: no effort may be later than this time.
    pub(crate) fn accept_at_ms(&self) -> Result<u64, DeliveryError> {
        self.ledger.accepts()?;
        Ok(self.ledger.now_ms())
    }

    /// Runs `work` on the decoding threads. It runs to its end even when the caller is gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let ledger = self.ledger.clone();
        self.pool.run(move || work(&ledger)).await
    }

    /// Decodes and commits a delivery. `permit` covers its body, and grows with the decoded data.
    pub(crate) async fn ingest(
        &self,
        delivery: DeliveryRequest,
        mut permit: MemoryPermit,
        in_flight: InFlightGuard,
    ) -> Result<IngestResult, DeliveryError> {
        let decoded = self.run(move |ledger| {
            // The work may outlive the request. It stays counted, and keeps its memory, until the
            // work ends.
            let _in_flight = in_flight;
            Ok::<_, DeliveryError>((decode(delivery, ledger, &mut permit)?, permit))
        });
        let (batch, permit) = decoded.await??;
        self.commit(batch, permit).await
    }

    /// Makes a batch durable: its efforts, its names, and the records that are rejected.
    pub(crate) async fn commit(
        &self,
        batch: DecodedBatch,
        permit: MemoryPermit,
    ) -> Result<IngestResult, DeliveryError> {
        let began = Instant::now();
        let permit = Arc::new(permit);
        let DecodedBatch {
            request_id,
            records,
            empty_records,
            mut write,
            rejected,
            origins,
            source,
            receipt_ms,
            ..
        } = batch;
        let efforts = write.efforts.len();
        metrics::counter!(observability::RECORDS_TOTAL).increment(records as u64);
        metrics::counter!(observability::RECORDS_EMPTY_TOTAL).increment(empty_records as u64);
        let mut quarantine = Quarantine {
            request_id: &request_id,
            receipt_ms,
            reasons: BTreeMap::new(),
        };
        write.quarantined = quarantine.add(rejected);
        write.guard = Some(Box::new(permit.clone()));
        let committed = self.ledger.commit(write).await?;
        if !committed.rejected.is_empty() {
            let mut rejected: Vec<_> = (committed.rejected.iter())
                .map(|&(effort, reason)| (origins.of(effort), rejection(reason)))
                .collect();
            rejected.dedup_by_key(|&mut (record, _)| record);
            let guard = permit.clone();
            let rejected = self.run(move |_| {
                let _guard = guard;
                source.with_data(rejected)
            });
            let quarantined = quarantine.add(rejected.await?);
            let write = WriteBatch {
                quarantined,
                guard: Some(Box::new(permit)),
                ..WriteBatch::default()
            };
            self.ledger.commit(write).await?;
        }
        let improvements = committed.improvements;
        metrics::counter!(observability::PERSONAL_BESTS_TOTAL).increment(improvements as u64);
        let rejected = count(quarantine.reasons.into_values());
        Ok(IngestResult {
            request_id,
            records,
            efforts,
            improvements,
            rejected,
            commit_duration: began.elapsed(),
        })
    }
}

/// Decoded records on their way to the commit.
pub(crate) struct DecodedBatch {
    request_id: String,
    records: usize,
    empty_records: usize,
    write: WriteBatch,
    rejected: Vec<RejectedData>,
    /// Maps each effort to its record.
    origins: EffortOrigins,
    source: RecordSource,
    receipt_ms: u64,
    memory_bytes: usize,
}

/// A rejected record: its index, the reason, and its data as received.
type RejectedData = (usize, Rejection, Vec<u8>);

/// The records as received, kept to quarantine records that the commit rejects.
pub(crate) enum RecordSource {
    /// A body that has parsed as an envelope.
    Envelope(Bytes),
    /// The data of each record.
    Records(Vec<Vec<u8>>),
}

impl RecordSource {
    /// Returns the memory of the records, and of a copy of all of them for the quarantine.
    fn memory_bytes(&self) -> usize {
        2 * match self {
            Self::Envelope(body) => body.len(),
            Self::Records(records) => records.iter().map(Vec::len).sum(),
        }
    }

    fn with_data(&self, rejected: Vec<(usize, Rejection)>) -> Vec<RejectedData> {
        match self {
            _ if rejected.is_empty() => Vec::new(),
            Self::Envelope(body) => {
                let envelope = Envelope::parse(body).expect("it has parsed");
                attach_data(rejected, |index| envelope.record(index))
            }
            Self::Records(records) => attach_data(rejected, |index| records[index].clone()),
        }
    }
}

fn attach_data(
    rejected: Vec<(usize, Rejection)>,
    data: impl Fn(usize) -> Vec<u8>,
) -> Vec<RejectedData> {
    let rejected = rejected.into_iter();
    rejected
        .map(|(index, rejection)| (index, rejection, data(index)))
        .collect()
}

impl DecodedBatch {
    /// Decodes records that come without an envelope. `request_id` is a substitute for the log.
    pub(crate) fn of_records(
        request_id: String,
        records: Vec<Vec<u8>>,
        receipt_ms: u64,
        ledger: &Ledger,
    ) -> Self {
        let data = records.iter().map(Vec::as_slice);
        let decoded = DecodedRecords::of(data, ledger.bounds(), receipt_ms, GUNZIPPED_BYTES_MAX);
        Self::new(
            request_id,
            decoded,
            RecordSource::Records(records),
            receipt_ms,
            ledger,
        )
    }

    fn new(
        request_id: String,
        mut decoded: DecodedRecords,
        source: RecordSource,
        receipt_ms: u64,
        ledger: &Ledger,
    ) -> Self {
        let decoded_bytes = decoded.bytes();
        let write = ledger.write_batch(
            std::mem::take(&mut decoded.efforts),
            &decoded.finals,
            std::mem::take(&mut decoded.names),
            receipt_ms,
        );
        let race_bytes = size_of_val(&*write.race_positions) + size_of_val(&*write.race_finals);
        let rejected = std::mem::take(&mut decoded.rejected).into_iter();
        let rejected = rejected.map(|RejectedRecord { record, rejection }| (record, rejection));
        Self {
            request_id,
            records: decoded.records(),
            empty_records: decoded.empty,
            rejected: source.with_data(rejected.collect()),
            origins: decoded.origins(),
            write,
            memory_bytes: source.memory_bytes() + decoded_bytes + race_bytes,
            source,
            receipt_ms,
        }
    }

    /// Returns the memory of the batch until it is durable, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// Decodes a delivery. Its permit grows to cover the decoded data.
fn decode(
    delivery: DeliveryRequest,
    ledger: &Ledger,
    permit: &mut MemoryPermit,
) -> Result<DecodedBatch, DeliveryError> {
    let DeliveryRequest {
        header_id,
        body_id,
        is_gzip,
        body,
        bytes_max,
        receipt_ms,
    } = delivery;
    let body = if is_gzip {
        gunzip(&body, bytes_max)?
    } else {
        body
    };
    let memory_limit = DeliveryError::memory_limit;
    let source = RecordSource::Envelope(body.clone());
    // Gunzipping may make the body a thousand times as long.
    permit
        .grow_to(source.memory_bytes())
        .ok_or_else(memory_limit)?;
    let envelope = Envelope::parse(&body).map_err(|error| {
        let message = error.to_string();
        error.request_id.map(|id| body_id.set(id));
        DeliveryError::new(DeliveryErrorCode::InvalidEnvelope, message)
    })?;
    if let Some(id) = &envelope.request_id {
        let _ = body_id.set(id.to_string()); // a delivery is decoded once
    }
    let request_id = request_id(header_id, envelope.request_id.as_deref())?;
    let decoded = decode_records(&envelope, ledger.bounds(), receipt_ms, bytes_max);
    let batch = DecodedBatch::new(request_id, decoded, source, receipt_ms, ledger);
    // Gzipped records may also expand. A check after they did suffices: at most one delivery per
    // core is between the two checks.
    permit
        .grow_to(batch.memory_bytes)
        .ok_or_else(memory_limit)?;
    Ok(batch)
}

/// Decodes all records, and yields the core between slices of them.
fn decode_records(
    envelope: &Envelope<'_>,
    bounds: &Bounds,
    receipt_ms: u64,
    bytes_max: usize,
) -> DecodedRecords {
    let mut decoded = DecodedRecords::with_capacity(envelope.len());
    let mut gunzip = RecordGunzip::new(bytes_max);
    for start in (0..envelope.len()).step_by(YIELD_RECORDS) {
        let range = start..envelope.len().min(start + YIELD_RECORDS);
        envelope.decode_range(range, bounds, receipt_ms, &mut gunzip, &mut decoded);
        std::thread::yield_now();
    }
    decoded
}

fn gunzip(body: &[u8], bytes_max: usize) -> Result<Bytes, DeliveryError> {
    gzip::gunzip(body, bytes_max)
        .map(Bytes::from)
        .map_err(|error| match error {
            GunzipError::TooLarge(bytes_max) => DeliveryError::too_large(bytes_max),
            GunzipError::Invalid(_) => {
                DeliveryError::new(DeliveryErrorCode::InvalidGzip, error.to_string())
            }
        })
}

/// Returns the request id. If header and body both have one, they must be equal.
fn request_id(header: Option<String>, body: Option<&str>) -> Result<String, DeliveryError> {
    let invalid = |message| {
        Err(DeliveryError::new(
            DeliveryErrorCode::InvalidRequestId,
            message,
        ))
    };
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            invalid("requestId differs from X-Amz-Firehose-Request-Id")
        }
        (Some(header), _) => Ok(header),
        (None, Some(body)) if !body.is_empty() => Ok(body.to_owned()),
        (None, _) => invalid("neither X-Amz-Firehose-Request-Id nor requestId names the request"),
    }
}

/// The rejected records of one request.
struct Quarantine<'r> {
    request_id: &'r str,
    receipt_ms: u64,
    /// The first reason of each record: here a record counts once. The metric counts each
    /// rejection, and both decoding and the commit may reject a record.
    reasons: BTreeMap<usize, &'static str>,
}

impl Quarantine<'_> {
    /// Logs and counts rejected records, and returns what the commit writes of them.
    fn add(&mut self, rejected: Vec<RejectedData>) -> Vec<Quarantined> {
        let logged = LOGGED_REJECTIONS_MAX.saturating_sub(self.reasons.len());
        for (record, Rejection { reason, message }, _) in rejected.iter().take(logged) {
            tracing::info!(
                request_id = ?self.request_id,
                record,
                reason = reason.as_str(),
                message,
                "record quarantined"
            );
        }
        let reasons = rejected
            .iter()
            .map(|(_, rejection, _)| rejection.reason.as_str());
        for (reason, count) in count(reasons) {
            metrics::counter!(observability::RECORDS_REJECTED_TOTAL, "reason" => reason)
                .increment(count as u64);
        }
        let quarantined = rejected.into_iter().map(|(record, rejection, raw)| {
            let reason = rejection.reason.as_str();
            self.reasons.entry(record).or_insert(reason);
            Quarantined {
                rejection,
                raw,
                arrival_ms: self.receipt_ms,
            }
        });
        quarantined.collect()
    }
}

fn count(reasons: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason).or_default() += 1);
    counts
}

/// Returns the rejection for a valid effort that the commit rejected.
fn rejection(reason: RejectionReason) -> Rejection {
    let message = match reason {
        RejectionReason::Erased => {
            "racerId was erased, and the record has no valid deviceTimestamp after the erasure"
        }
        _ => "racerId is new, and its class has as many racers as --max-racers allows",
    };
    Rejection::new(reason, message)
}
