//! When a request goes again, and after how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::Timing;

/// Longest wait that a server may ask for; past it the error is told instead.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Retries of failures that pass: overload, a restart, a lost connection.
const RETRIES: u32 = 4;
/// Retries of a refused connection: enough for a restart, over within seconds.
const RETRIES_REFUSED: u32 = 2;

/// What failed, as far as it matters for going again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing listens.
    Refused,
    /// The connection was lost before the first token.
    Lost,
    /// The server answered with a status.
    Status {
        /// The status.
        status: StatusCode,
        /// What `Retry-After` says.
        after: Option<Duration>,
        /// It says that it is still loading the model.
        loading: bool,
    },
    /// Nothing that time heals.
    Permanent,
}

/// Counts the retries of one request.
#[derive(Debug, Default)]
pub struct Retries {
    made: u32,
    /// Time spent waiting for a model to load.
    loading: Duration,
}

impl Retries {
    /// Number of retries so far.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Time waited for a model to load.
    pub fn waited(&self) -> Duration {
        self.loading
    }

    /// How long to wait before the request goes again; `None` if it does not.
    /// `patience` bounds the waiting for a model that loads.
    pub fn next(&mut self, failure: Failure, timing: &Timing, patience: Duration) -> Option<Duration> {
        let delay = match failure {
            Failure::Permanent => None,
            Failure::Refused => (self.made < RETRIES_REFUSED).then(|| backoff(timing.backoff / 2, self.made)),
            Failure::Lost => (self.made < RETRIES_REFUSED).then(|| backoff(timing.backoff, self.made)),
            Failure::Status { loading: true, .. } => {
                let pause = backoff(timing.backoff * 2, 0);
                self.loading += pause;
                return (self.loading <= patience).then_some(pause);
            }
            Failure::Status { status, .. } if !passes(status) => None,
            Failure::Status { after: Some(after), .. } => {
                (self.made < RETRIES && after <= LONGEST_WAIT).then(|| after + backoff(timing.backoff / 8, 0))
            }
            Failure::Status { .. } => (self.made < RETRIES).then(|| backoff(timing.backoff, self.made)),
        }?;
        self.made += 1;
        Some(delay)
    }
}

/// Statuses that another try may heal.
fn passes(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 => true,
        // Not implemented, and a version or an authentication that will not change.
        501 | 505 | 511 => false,
        code => (500..600).contains(&code),
    }
}

/// `base` doubled per attempt, with a quarter of it as jitter either way.
fn backoff(base: Duration, attempt: u32) -> Duration {
    let exact = base * 2_u32.pow(attempt.min(6));
    let random = RandomState::new().build_hasher().finish() % 1000;
    exact.mul_f64(0.75 + 0.5 * (random as f64 / 1000.0))
}

/// `Retry-After` in either form of RFC 9110: seconds (vendors send fractions), or a date.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn status(code: u16, after: Option<u64>) -> Failure {
        let status = StatusCode::from_u16(code).unwrap();
        Failure::Status { status, after: after.map(Duration::from_secs), loading: false }
    }

    fn delays(failure: Failure) -> Vec<Duration> {
        let mut retries = Retries::default();
        let timing = Timing::default();
        std::iter::from_fn(|| retries.next(failure, &timing, PATIENCE)).collect()
    }

    #[test]
    fn what_goes_again_and_how_often() {
        let table = [
            (status(408, None), 4),
            (status(429, None), 4),
            (status(500, None), 4),
            (status(503, None), 4),
            (status(501, None), 0),
            (status(400, None), 0),
            (status(401, None), 0),
            (status(404, None), 0),
            (status(429, Some(100_000)), 0),
            (Failure::Refused, 2),
            (Failure::Lost, 2),
            (Failure::Permanent, 0),
        ];
        for (failure, count) in table {
            assert_eq!(delays(failure).len(), count, "{failure:?}");
        }
    }

    #[test]
    fn a_refused_connection_is_given_up_within_seconds() {
        assert!(delays(Failure::Refused).iter().sum::<Duration>() < Duration::from_secs(2));
    }

    #[test]
    fn a_constant_overload_is_given_up_within_half_a_minute() {
        assert!(delays(status(503, None)).iter().sum::<Duration>() < Duration::from_secs(30));
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        for delay in delays(status(429, Some(2))) {
            assert!(delay >= Duration::from_secs(2) && delay < Duration::from_millis(2500), "{delay:?}");
        }
    }

    #[test]
    fn a_loading_model_is_waited_for_within_patience() {
        let loading = Failure::Status { status: StatusCode::SERVICE_UNAVAILABLE, after: None, loading: true };
        let total: Duration = delays(loading).iter().sum();
        assert!(total > PATIENCE / 2 && total <= PATIENCE, "{total:?}");
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap();
        assert_eq!(retry_after("2", now), Some(Duration::from_secs(2)));
        assert_eq!(retry_after(" 0.5 ", now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "NaN", "1e400"] {
            assert_eq!(retry_after(nonsense, now), None, "{nonsense}");
        }
    }
}
