// What the figures of a rollout amount to, for a person in a hurry. Pure: no text, no clock, no network.
import type { Arm, Effect, Metric, RolloutDetails, RolloutState } from 'modelramp-schema';

export type Tone = 'good' | 'watch' | 'hold' | 'bad' | 'quiet';

/** The situation that the headline names. */
export type Situation =
  | 'healthy' | 'watch' | 'hold' | 'outage' | 'both-failing' | 'no-traffic' | 'account' | 'sample-ratio' | 'excluded-differ'
  | 'deadline' | 'killed' | 'paused' | 'gate-proven' | 'gate-recommended' | 'gate-open' | 'completed' | 'rolled-back' | 'too-early';

const TONES: Record<Situation, Tone> = {
  healthy: 'good', watch: 'watch', hold: 'hold', outage: 'bad', 'both-failing': 'hold', 'no-traffic': 'quiet', account: 'hold',
  'sample-ratio': 'hold', 'excluded-differ': 'hold', deadline: 'hold', killed: 'bad', paused: 'quiet', 'gate-proven': 'good',
  'gate-recommended': 'good', 'gate-open': 'watch', completed: 'good', 'rolled-back': 'bad', 'too-early': 'quiet',
};

export const toneOf = (situation: Situation): Tone => TONES[situation];

/** Where a rollout stands, from its state alone: for lists, where the evidence is not at hand. */
export function situationOf(rollout: RolloutState, proof?: 'none' | 'recommended' | 'proven', requests?: number): Situation {
  const { state, level } = rollout;
  switch (state.name) {
    case 'completed':
      return 'completed';
    case 'rolled-back':
      return 'rolled-back';
    case 'holding':
      switch (state.because) {
        case 'outage':
          return 'outage';
        case 'both-sides-failing':
          return 'both-failing';
        case 'evidence':
          return 'hold';
        default:
          return state.because;
      }
    default:
  }
  if (rollout.outage) return 'outage';
  if (level === 'hold' || level === 'rollback') return 'hold';
  if (level === 'watch') return 'watch';
  if (state.name === 'paused') return 'paused';
  if (state.name === 'waiting-at-gate') {
    if (proof === 'proven') return 'gate-proven';
    return proof === 'recommended' || (proof === undefined && state.recommended) ? 'gate-recommended' : 'gate-open';
  }
  return requests === 0 ? 'too-early' : 'healthy';
}

/** The kill switch is above every rollout: while it is on, nobody gets the candidate, whatever share the rollout has. */
export const situation = (rollout: RolloutDetails, killed = false): Situation =>
  killed && rollout.live ? 'killed' : situationOf(rollout, rollout.finding.proof, rollout.finding.candidate.requests);

/** The share of users who get the candidate now. */
export const shareInForce = (rollout: RolloutState, killed: boolean): number => (killed ? 0 : rollout.share);

/** Failed of all, 0 to 1; `null` without requests. */
export const failureRate = ({ errors, requests }: Pick<Arm, 'errors' | 'requests'>): number | null =>
  requests > 0 ? errors / requests : null;

/** How many times as often the candidate fails, as counted; `null` where that cannot be said. */
export function failureRatio(rollout: RolloutDetails): number | null {
  const candidate = failureRate(rollout.finding.candidate);
  const control = failureRate(rollout.finding.control);
  return candidate === null || !control ? null : candidate / control;
}

/** How many times as often something happens to the candidate, with the interval that holds at every moment; none while nothing
 * is known. */
export function effectOf(rollout: RolloutDetails, metric: Metric): Effect | undefined {
  return rollout.verdict.effects?.find((effect) => effect.metric === metric && effect.ratio !== null);
}

/** How many times as often the candidate fails at least, where that is proven and control never failed, so that there is no ratio. */
export function atLeast(rollout: RolloutDetails): number | null {
  const { candidate, control } = rollout.finding;
  const low = effectOf(rollout, 'errors')?.low ?? null;
  return control.errors === 0 && candidate.errors > 0 && low !== null && low > 1 ? low : null;
}

/** Failed answers beyond what control would have failed; `null` where control says nothing. */
export function excess(rollout: RolloutDetails): number | null {
  const { candidate, control } = rollout.finding;
  const usual = failureRate(control);
  return usual === null || candidate.requests === 0 ? null : Math.max(0, candidate.errors - candidate.requests * usual);
}

/** The metric that speaks against the candidate most. */
export function loudest(rollout: RolloutDetails): Metric {
  const weighed = rollout.verdict.metrics.filter(({ weight }) => weight > 0);
  weighed.sort((a, b) => b.weight * b.e - a.weight * a.e);
  return weighed[0]?.metric ?? 'errors';
}

/** The names of the models that answer first in both arms. */
export function primaries(rollout: RolloutState): { candidate: string | null; control: string | null } {
  const first = rollout.models[0];
  return { candidate: first?.candidate[0] ?? null, control: first?.control[0] ?? null };
}

/** Whether it concerns nobody: `modelramp smoke` starts one to take it back. It is never the last rollout, and nothing to stop. */
export const isRehearsal = ({ tasks }: Pick<RolloutState, 'tasks'>): boolean => tasks.length === 1 && tasks[0] === 'rehearsal';

export type Action = 'pause' | 'resume' | 'advance' | 'approve' | 'set-share' | 'rollback';

/** Why an action cannot be done now; `null` where it can. The server's own words where it refuses for another cause. */
export type Hindrance = 'ended' | 'paused' | 'not-paused' | 'no-gate' | 'last-stage' | 'no-connection' | { told: string } | null;

export function hindrance(rollout: RolloutDetails, action: Action, connected: boolean): Hindrance {
  if (!rollout.live) return 'ended';
  // Stopping is never forbidden for want of news.
  if (action === 'rollback') return null;
  if (!connected) return 'no-connection';
  const verbs = action === 'set-share' ? ['raise-share', 'lower-share'] : [action];
  const told = rollout.allowed.filter((one) => verbs.includes(one.action));
  if (told.some(({ allowed }) => allowed)) return null;
  if (action === 'pause' && rollout.state.name === 'paused') return 'paused';
  if (action === 'resume' && rollout.state.name !== 'paused') return 'not-paused';
  if (action === 'approve' && rollout.state.name !== 'waiting-at-gate') return 'no-gate';
  if (action === 'advance' && rollout.stage >= rollout.stages) return 'last-stage';
  const why = told.find((one) => one.why !== null)?.why;
  return why ? { told: why } : null;
}

/** The share that a raising action leads to, hold-out taken off. */
export function nextShare(rollout: RolloutDetails): number {
  const stage = rollout.wanted.stages[rollout.stage];
  return Math.min(stage?.share ?? rollout.share, 100 - rollout.wanted.holdout);
}
