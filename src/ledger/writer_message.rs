//! Messages to the commit loop: what replication, erasures and snapshots change in the table.
//!
//! The loop handles them between deliveries, and while the put of a commit is pending. So what
//! others made durable never waits for this instance's store.

use tokio::sync::{mpsc, oneshot};

use crate::domain::effort::Effort;
use crate::domain::erasure::Erasures;
use crate::domain::race_row::RaceRow;
use crate::ledger::commit_loop::{PendingCommit, PendingReply};
use crate::ledger::merge::{MergedParts, without_erased};
use crate::ledger::write_batch::CommitReply;
use crate::ledger::{CommitResult, Inner};
use crate::storage::codec::journal_segment::SegmentContents;

/// Sends messages to the commit loop.
pub(super) type WriterSender = mpsc::Sender<WriterMessage>;

/// A message to the commit loop.
#[derive(Debug)]
pub(super) enum WriterMessage {
    /// Merges efforts and names that another instance made durable, or that an erasure
    /// invalidated here.
    ApplyRemote {
        /// A whole segment, or a slice of a snapshot.
        contents: SegmentContents,
        /// Gets the merged parts, for the journal index.
        reply: oneshot::Sender<MergedParts>,
    },
    /// Removes erased efforts and names.
    ApplyErasures {
        erasures: Erasures,
        /// Gets the number of removed efforts.
        reply: oneshot::Sender<u64>,
    },
    /// Writes efforts and race rows to the journal, whether or not they improve anything.
    Rejournal {
        efforts: Vec<Effort>,
        race_rows: Vec<RaceRow>,
        reply: CommitReply,
    },
}

impl Inner {
    /// Handles a message. `pending` is the next commit, which has not begun.
    pub(super) fn handle_message(&self, message: WriterMessage, pending: &mut PendingCommit) {
        match message {
            WriterMessage::ApplyRemote { contents, reply } => {
                let mut parts = MergedParts::default();
                self.merge(&contents, &mut parts);
                let _ = reply.send(parts); // the caller may be gone
            }
            WriterMessage::ApplyErasures { erasures, reply } => {
                let removed = self.apply_erasures(&erasures);
                // Otherwise keep_best could keep an erased effort and drop a valid lower one.
                pending.contents = without_erased(&pending.contents, &self.erasures(), 0);
                let _ = reply.send(removed); // the caller may be gone
            }
            WriterMessage::Rejournal {
                efforts,
                race_rows,
                reply,
            } => {
                let erasures = self.erasures();
                let race_rows = race_rows.into_iter();
                let race_rows = race_rows.filter(|row| !erasures.any_covers(&row.effort(), 0));
                pending.contents.race_rows.extend(race_rows);
                pending.contents.efforts.extend(
                    efforts
                        .iter()
                        .filter(|effort| !erasures.any_covers(effort, 0)),
                );
                pending.replies.push(PendingReply {
                    result: CommitResult::default(),
                    reply,
                    _unanswered: None,
                    _guard: None,
                });
            }
        }
    }

    /// Merges durable contents through the writer, a message each. Without a writer (during
    /// recovery, and after the commit loop has ended), merges directly.
    pub(super) async fn apply_contents(
        &self,
        contents: impl IntoIterator<Item = SegmentContents>,
        writer: Option<&WriterSender>,
    ) -> MergedParts {
        let mut parts = MergedParts::default();
        for contents in contents {
            let Some(writer) = writer else {
                self.merge(&contents, &mut parts);
                continue;
            };
            let (reply, merged) = oneshot::channel();
            let message = WriterMessage::ApplyRemote { contents, reply };
            if writer.send(message).await.is_ok()
                && let Ok(merged) = merged.await
            {
                parts.extend(merged);
            } else {
                // The commit loop has ended. Never return: the caller would index the segment as
                // merged.
                std::future::pending::<()>().await;
            }
        }
        parts
    }
}
