//! The log that recorded events go on to.

use super::*;

#[test]
fn what_is_recorded_is_taken_out_once_and_in_order() {
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    for at in [NOW + 2, NOW, NOW + 1] {
        metrics.record(event(at, 10.0));
    }
    let times: Vec<_> = log.take().iter().map(|event| event.at_ms).collect();
    assert_eq!(times, [NOW + 2, NOW, NOW + 1]);
    assert!(log.take().is_empty());
}

#[test]
fn what_is_restored_is_not_taken_out_again() {
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    metrics.restore([event(NOW, 10.0)]);
    assert!(log.take().is_empty());
    assert_eq!(metrics.summary(Minutes::HOUR, time(NOW)).total_requests, 1);
}

#[test]
fn memory_is_bounded_where_nobody_takes_events_out() {
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    for at in 0..100_010 {
        metrics.record(event(NOW + at, 10.0));
    }
    assert_eq!(log.take().len(), 100_000);
}
