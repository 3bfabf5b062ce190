//! Waiting for a human's word.

use std::time::Duration;

use chela_protocol::{ApprovalId, Call, Decision, Event, Outcome, Right};
use tokio::sync::oneshot;

use crate::journal::lock;
use crate::turn::Turn;

/// What became of a request for approval.
pub(crate) enum Approval {
    /// Yes.
    Yes,
    /// The user said no.
    No,
    /// Nobody said anything.
    Unanswered(Duration),
}

impl Turn<'_> {
    /// Asks, and waits for the answer, the time limit or the end of the turn.
    pub async fn approve(
        &mut self,
        call: &Call,
        why: Vec<String>,
        rights: &[Right],
        diff: Option<String>,
    ) -> Result<Approval, Outcome> {
        let id = ApprovalId::new();
        let timeout = self.core.settings.approval_timeout;
        let (grants, session) = self.core.policy.grants(rights);
        let (sender, receiver) = oneshot::channel();
        lock(&self.core.approvals).insert(id, sender);
        self.emit(Event::ApprovalRequested {
            id,
            call: call.clone(),
            why,
            rights: rights.to_vec(),
            session,
            diff,
            timeout: timeout.as_secs(),
        })
        .await;
        let answer = tokio::select! {
            biased;
            () = self.control.cancel.cancelled() => Err(Outcome::Stopped),
            answer = tokio::time::timeout(timeout, receiver) => Ok(answer),
        };
        lock(&self.core.approvals).remove(&id);
        let (approval, allowed, words) = match answer {
            Err(_) => (Err(Outcome::Stopped), false, "the turn was stopped".to_owned()),
            Ok(Ok(Ok(Decision::Once))) => (Ok(Approval::Yes), true, "allowed once".to_owned()),
            Ok(Ok(Ok(Decision::Session))) => {
                let mut live = lock(&self.core.live);
                live.mode.grants.extend(grants);
                (Ok(Approval::Yes), true, "allowed for the session".to_owned())
            }
            Ok(Ok(Ok(Decision::Deny))) => (Ok(Approval::No), false, "denied".to_owned()),
            Ok(Ok(Err(_)) | Err(_)) => {
                let words = format!("not answered within {} s", timeout.as_secs());
                (Ok(Approval::Unanswered(timeout)), false, words)
            }
        };
        self.emit(Event::ApprovalResolved { id, allowed, why: words }).await;
        approval
    }
}
