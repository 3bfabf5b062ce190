//! Liveness is progress, not the clock.
//!
//! A server that reads a long prompt is silent for minutes and healthy. Before the first token it
//! is therefore asked, beside the request, whether it lives; only where it offers no sign of life,
//! and always after the first token, does silence on the connection count.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::Timing;
use super::turn::ModelError;
use crate::catalog::Endpoint;
use crate::transport::show;

/// Longest body of a health or metrics answer.
const SIGN_LIMIT: usize = 4 << 20;

/// Watches one request.
#[derive(Debug)]
pub struct Liveness<'a> {
    endpoint: &'a Endpoint,
    timing: &'a Timing,
    since: Instant,
    /// The last byte, or the last time the server said that it lives.
    sign: Instant,
    next_check: Instant,
    signs: Signs,
    answering: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signs {
    Health,
    Metrics,
    /// The server offers neither.
    Nothing,
}

enum Sign {
    Alive,
    Silent,
    NotOffered,
}

/// What happened while waiting.
pub enum Waited<T> {
    /// What was waited for.
    Ready(T),
    /// Nothing yet; the server lives, or may still be silent for a while.
    Still {
        /// Since the request was sent.
        seconds: u64,
    },
}

impl<'a> Liveness<'a> {
    /// A watch that starts now.
    pub fn new(endpoint: &'a Endpoint, timing: &'a Timing) -> Self {
        let now = Instant::now();
        let next_check = now + timing.check;
        Self { endpoint, timing, since: now, sign: now, next_check, signs: Signs::Health, answering: false }
    }

    /// A byte came.
    pub fn byte(&mut self) {
        self.sign = Instant::now();
    }

    /// The first token came: from now on only bytes count.
    pub fn answering(&mut self) {
        self.answering = true;
    }

    /// Wait for `ready`, which must not lose anything when it is polled again after `Still`.
    ///
    /// # Errors
    /// [`ModelError::Stalled`] once the silence has lasted too long.
    pub async fn wait<T>(
        &mut self,
        ready: &mut (impl Future<Output = T> + Unpin),
    ) -> Result<Waited<T>, ModelError> {
        loop {
            let deadline = self.sign + self.endpoint.silence;
            let wake = self.next_check.min(deadline);
            tokio::select! {
                biased;
                value = &mut *ready => return Ok(Waited::Ready(value)),
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= self.next_check {
                self.next_check = Instant::now() + self.timing.check;
                if !self.answering && self.signs != Signs::Nothing {
                    // The request itself goes on while the server is asked.
                    tokio::select! {
                        biased;
                        value = &mut *ready => return Ok(Waited::Ready(value)),
                        () = self.check() => {}
                    }
                }
                if Instant::now() < self.sign + self.endpoint.silence {
                    return Ok(Waited::Still { seconds: self.since.elapsed().as_secs() });
                }
            }
            if Instant::now() >= self.sign + self.endpoint.silence {
                return match ready.now_or_never() {
                    Some(value) => Ok(Waited::Ready(value)),
                    None => Err(self.stalled()),
                };
            }
        }
    }

    async fn check(&mut self) {
        loop {
            let sign = match self.signs {
                Signs::Health => self.health().await,
                Signs::Metrics => self.metrics().await,
                Signs::Nothing => return,
            };
            match sign {
                Sign::Alive => self.sign = Instant::now(),
                Sign::Silent => {}
                Sign::NotOffered => {
                    self.signs = if self.signs == Signs::Health { Signs::Metrics } else { Signs::Nothing };
                    continue;
                }
            }
            return;
        }
    }

    async fn health(&self) -> Sign {
        match self.ask(&self.endpoint.row.health).await {
            Some((200..=299, _)) => Sign::Alive,
            Some((400..=499 | 501, _)) => Sign::NotOffered,
            _ => Sign::Silent,
        }
    }

    async fn metrics(&self) -> Sign {
        match self.ask("/metrics").await {
            Some((200..=299, body)) if is_active(&body, &self.endpoint.row.activity) => Sign::Alive,
            Some((400..=499 | 501, _)) => Sign::NotOffered,
            _ => Sign::Silent,
        }
    }

    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let request = self.endpoint.get(self.endpoint.root(path));
        let answer = async {
            let response = self.endpoint.transport.send(request).await.ok()?;
            let status = response.status.as_u16();
            let body = response.bytes(SIGN_LIMIT).await.ok()?;
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        };
        timeout(self.timing.check_limit, answer).await.ok().flatten()
    }

    fn stalled(&self) -> ModelError {
        ModelError::Stalled {
            url: show(&self.endpoint.base_url),
            waited_for: if self.answering { "the next part of the answer" } else { "the first token" },
            seconds: self.endpoint.silence.as_secs(),
            key: format!("models.providers.{}.timeoutSeconds", self.endpoint.id),
        }
    }
}

/// Whether one of the gauges in Prometheus text is above zero. A server without known gauges is
/// judged by any gauge that counts running, waiting or processing requests.
fn is_active(metrics: &str, gauges: &[String]) -> bool {
    metrics.lines().filter(|line| !line.starts_with('#')).any(|line| {
        let Some((series, value)) = line.rsplit_once(' ') else { return false };
        let name = series.split('{').next().unwrap_or(series);
        let counts = if gauges.is_empty() {
            ["running", "waiting", "processing"].iter().any(|word| name.contains(word))
        } else {
            gauges.iter().any(|gauge| gauge == name)
        };
        counts && value.trim().parse::<f64>().is_ok_and(|value| value > 0.0)
    })
}

/// Longest time between two notices that the server is waited for.
pub const CHECK: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_is_read_from_prometheus_text() {
        let gauges = ["vllm:num_requests_running".to_owned(), "vllm:num_requests_waiting".to_owned()];
        let idle = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\"} 0.0\n";
        let busy = "vllm:num_requests_running{engine=\"0\",model_name=\"a b\"} 1.0\n";
        assert!(!is_active(idle, &gauges));
        assert!(is_active(busy, &gauges));
        assert!(is_active("my_requests_waiting 2\n", &[]));
        assert!(!is_active("process_open_fds 12\n", &[]));
        assert!(!is_active("vllm:num_requests_running\n", &gauges));
    }
}
