//! Notes once a minute how the evidence of each live rollout stands.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use crate::{
    _core::{clock, errors::in_full, failure_edge::FailureEdge},
    rollout::{
        controller::Controller,
        samples::{FINE, Sample, SampleStore},
    },
};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(60);
/// Samples between two times that old ones are thinned out.
const THINNED_EVERY: u32 = 60;

/// Samples until the server stops; the process that moves the rollouts does, and no other.
#[expect(
    clippy::disallowed_methods,
    reason = "a loop's edge: it works at the time it is"
)]
pub(super) async fn run(
    controller: Arc<Controller>,
    store: Arc<dyn SampleStore>,
    stopping: impl Future<Output = ()>,
) {
    let mut stopping = pin!(stopping);
    let outage = FailureEdge::default();
    let mut rounds = 0_u32;
    loop {
        let work = async {
            if !controller.leads() {
                return Ok(());
            }
            let now = clock::now();
            for view in controller.views() {
                store
                    .add_sample(&view.status.id, &Sample::of(&view, now))
                    .await?;
            }
            if rounds.is_multiple_of(THINNED_EVERY) {
                store.thin_samples(now - FINE).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            () = &mut stopping => return,
            done = work => match done {
                Ok(()) => drop(outage.ends()),
                Err(error) if outage.begins() => {
                    tracing::warn!(error = in_full(error.as_ref()), "samples of rollouts are not stored");
                }
                Err(_) => {}
            },
        }
        rounds = rounds.wrapping_add(1);
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
