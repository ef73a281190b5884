//! A closed loop of questions: so many in flight, each one's latency in a histogram.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;

/// One question from start to a verified end. The number says which it is.
pub type Ask = Arc<dyn Fn(u64) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What one point of the measurement gave.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Questions answered in a second.
    pub per_second: f64,
    /// The median time of a question, milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, milliseconds.
    pub p99_ms: f64,
}

/// Keeps `in_flight` questions going for `duration`, after a warm-up of a fifth of it. Any failure ends it.
pub async fn measure(
    ask: &Ask,
    in_flight: usize,
    duration: Duration,
    numbers: &Arc<AtomicU64>,
) -> Result<Point, String> {
    run(ask, in_flight, duration / 5, numbers).await?;
    let started = Instant::now();
    let histogram = run(ask, in_flight, duration, numbers).await?;
    let seconds = started.elapsed().as_secs_f64();
    let milliseconds =
        |quantile: f64| Duration::from_nanos(histogram.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
    Ok(Point {
        per_second: f64::from(u32::try_from(histogram.len()).unwrap_or(u32::MAX)) / seconds,
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
    })
}

async fn run(
    ask: &Ask,
    in_flight: usize,
    duration: Duration,
    numbers: &Arc<AtomicU64>,
) -> Result<Histogram<u64>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (ask, stop, numbers) = (Arc::clone(ask), Arc::clone(&stop), Arc::clone(numbers));
            tokio::spawn(async move {
                let mut histogram = empty()?;
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    ask(numbers.fetch_add(1, Ordering::Relaxed)).await?;
                    histogram.saturating_record(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Ok::<_, String>(histogram)
            })
        })
        .collect();
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = empty()?;
    for worker in workers {
        all.add(worker.await.map_err(|error| error.to_string())??).map_err(|error| error.to_string())?;
    }
    Ok(all)
}

/// From a microsecond to a minute, in nanoseconds, to three digits.
fn empty() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load that takes a known time shows that time.
    #[tokio::test]
    async fn the_figures_are_those_of_the_load() {
        let ask: Ask = Arc::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(())
            })
        });
        let point = measure(&ask, 4, Duration::from_millis(300), &Arc::default()).await.expect("no failure");
        assert!(point.p50_ms >= 20.0 && point.p99_ms >= point.p50_ms, "{point:?}");
        assert!(point.per_second > 1.0 && point.per_second <= 4.0 / 0.020, "{point:?}");
    }

    #[tokio::test]
    async fn a_failure_ends_the_measurement() {
        let ask: Ask =
            Arc::new(|number| Box::pin(async move { if number > 5 { Err("refused".into()) } else { Ok(()) } }));
        assert_eq!(
            measure(&ask, 2, Duration::from_millis(50), &Arc::default()).await.err(),
            Some("refused".to_owned())
        );
    }
}
