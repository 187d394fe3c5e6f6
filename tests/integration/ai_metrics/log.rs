//! The log that recorded events go on to.

use super::*;
use crate::support::log::taken;

#[test]
fn what_is_recorded_is_frozen_once_and_in_order() {
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    for at in [NOW + 2, NOW, NOW + 1] {
        metrics.record(event(at, 10.0));
    }
    let times: Vec<_> = taken(&log).iter().map(|event| event.at_ms).collect();
    assert_eq!(times, [NOW + 2, NOW, NOW + 1]);
    assert!(taken(&log).is_empty());
}

#[test]
fn what_is_restored_is_not_appended_again() {
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    metrics.restore([event(NOW, 10.0)]);
    assert!(taken(&log).is_empty());
    assert_eq!(metrics.summary(Minutes::HOUR, time(NOW)).total_requests, 1);
}

#[test]
fn memory_is_bounded_where_nobody_stores_events() {
    let log = Arc::new(Log::default());
    let metrics = AiMetrics::over(log.clone());
    for at in 0..200_010 {
        metrics.record(event(NOW + at, 10.0));
    }
    assert_eq!(taken(&log).len(), 200_000);
}
