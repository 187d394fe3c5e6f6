import type { RolloutDetails } from 'modelramp-schema';
import { expect, test } from 'vitest';
import { atLeast, excess, failureRatio, hindrance, isRehearsal, nextShare, shareInForce, situation, toneOf } from '../src/judgement.ts';

const arm = (errors: number, requests: number): RolloutDetails['finding']['candidate'] => ({ errors, requests, averageMs: 50, hung: 0 });

function rollout(change: Partial<RolloutDetails> = {}, candidate = arm(79, 4144), control = arm(37, 4144)): RolloutDetails {
  return {
    id: '1', plan: 'standard', tasks: [], state: { name: 'running' }, live: true, stage: 2, stages: 3, share: 50, level: 'clear', outage: null,
    allowed: [{ action: 'approve', allowed: false, why: 'it waits at no gate' }, { action: 'advance', allowed: true, why: null }],
    finding: { candidate, control, proof: 'none', e: 1 },
    wanted: { holdout: 1, stages: [{ share: 10 }, { share: 50 }, { share: 100 }] },
    ...change,
  } as RolloutDetails;
}

test('the headline follows the state before the evidence, and the evidence before calm', () => {
  expect(situation(rollout())).toBe('healthy');
  expect(situation(rollout({ level: 'watch' }))).toBe('watch');
  expect(situation(rollout({ state: { name: 'holding', because: 'both-sides-failing' }, level: 'hold' }))).toBe('both-failing');
  expect(situation(rollout({ state: { name: 'paused' } }))).toBe('paused');
  expect(situation(rollout({ state: { name: 'paused' }, level: 'watch' }))).toBe('watch');
  expect(situation(rollout({ state: { name: 'rolled-back' }, live: false, level: 'rollback' }))).toBe('rolled-back');
  expect(situation(rollout({}, arm(0, 0)))).toBe('too-early');
  expect(toneOf('rolled-back')).toBe('bad');
});

test('while the kill switch is on nobody gets the candidate, and that is the headline', () => {
  expect(situation(rollout({}), true)).toBe('killed');
  expect(situation(rollout({ level: 'hold' }), true)).toBe('killed');
  expect(shareInForce(rollout(), true)).toBe(0);
  expect(shareInForce(rollout(), false)).toBe(50);
  // What has ended is told as it ended.
  expect(situation(rollout({ state: { name: 'rolled-back' }, live: false }), true)).toBe('rolled-back');
});

test('what cannot be compared is null, not 0', () => {
  expect(failureRatio(rollout({}, arm(1, 10), arm(0, 10)))).toBeNull();
  expect(failureRatio(rollout({}, arm(0, 0), arm(1, 10)))).toBeNull();
  expect(excess(rollout({}, arm(3, 10), arm(0, 0)))).toBeNull();
  expect(failureRatio(rollout())).toBeCloseTo(79 / 37);
  expect(excess(rollout())).toBeCloseTo(42);
  expect(excess(rollout({}, arm(0, 100), arm(10, 100)))).toBe(0);
});

test('a control that never failed has no ratio, but a bound that is proven is told', () => {
  const effect = (low: number): RolloutDetails['verdict'] => ({ effects: [{ metric: 'errors', ratio: 64, low, high: null, margin: 1.25 }] }) as unknown as RolloutDetails['verdict'];
  expect(atLeast(rollout({ verdict: effect(1.49) }, arm(9, 44), arm(0, 34)))).toBe(1.49);
  expect(atLeast(rollout({ verdict: effect(0.07) }, arm(1, 7), arm(0, 72)))).toBeNull();
  expect(atLeast(rollout({ verdict: effect(1.49) }, arm(9, 44), arm(1, 34)))).toBeNull();
});

test('stopping is never forbidden for want of a connection, and raising always', () => {
  expect(hindrance(rollout(), 'rollback', false)).toBeNull();
  expect(hindrance(rollout(), 'advance', false)).toBe('no-connection');
  expect(hindrance(rollout(), 'advance', true)).toBeNull();
  expect(hindrance(rollout(), 'approve', true)).toBe('no-gate');
  expect(hindrance(rollout({ live: false }), 'rollback', true)).toBe('ended');
});

test('a rehearsal is told by its task, and a rollout of more is none', () => {
  expect(isRehearsal(rollout({ tasks: ['rehearsal'] }))).toBe(true);
  expect(isRehearsal(rollout({ tasks: ['rehearsal', 'chat'] }))).toBe(false);
  expect(isRehearsal(rollout({ tasks: [] }))).toBe(false);
});

test('the next share leaves the hold-out on control', () => {
  expect(nextShare(rollout())).toBe(99);
  expect(nextShare(rollout({ stage: 1 }))).toBe(50);
});
