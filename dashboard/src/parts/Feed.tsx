// Changes as people read them: what, by whom, when; each of a rollout's opens to the figures it was decided on.
import type { Action, Explanation2, HistoryEntry } from 'modelramp-schema';
import type { JSX, ReactNode } from 'react';
import { count, evidence, rate, ratio, share } from '../format.ts';
import { failureRate } from '../judgement.ts';
import { preferences } from '../preferences.ts';
import { t } from '../texts/index.ts';
import { REASONS } from '../texts/reasons.ts';
import { Icon, type IconName } from './Icon.tsx';
import { When, actorName } from './Text.tsx';

const ICONS: Record<Action, IconName> = {
  started: 'play', paused: 'pause', resumed: 'play', held: 'watch', asked: 'person', approved: 'good', advanced: 'up',
  'share-set': 'right', completed: 'good', 'rolled-back': 'bad', released: 'quiet', unknown: 'watch',
};
const TONES: Partial<Record<Action, string>> = { held: 'w', approved: 'g', advanced: 'g', completed: 'g', 'rolled-back': 'b' };

/** A reason in this page's language where it is one that the controller writes; what people wrote stays as it is. */
export function reasonWords(reason: string): string {
  const words = REASONS[preferences().language] ?? {};
  const known = Object.keys(words).find((one) => reason === one || [':', ',', ';', ' ('].some((next) => reason.startsWith(one + next)));
  return known === undefined ? reason : words[known] + reason.slice(known.length);
}

/** What was done, in a sentence that names the shares where they moved. */
export function changeText(entry: Pick<HistoryEntry, 'action' | 'reason' | 'before' | 'after'>): string {
  const { action, before, after } = entry;
  const reason = reasonWords(entry.reason);
  const moved = before && before.share !== after.share ? `${t.timeline.move(share(before.share), share(after.share))}: ` : '';
  return moved + t.timeline.action[action](reason);
}

export function FeedItem({ entry, place, children }: { entry: HistoryEntry; place?: ReactNode; children?: ReactNode }): JSX.Element {
  return (
    <li>
      <Icon name={ICONS[entry.action]} className={TONES[entry.action]} />
      <div>
        <p>{changeText(entry)}</p>
        <p className="who">
          {place && <>{place} · </>}
          {actorName(entry.actor)} · <When at={entry.at} /> · {t.timeline.version} {entry.version}
        </p>
        {children}
      </div>
    </li>
  );
}

/** The figures that a decision was based on, as they were stored with it. */
export function DecisionFigures({ why }: { why: Explanation2 }): JSX.Element {
  const finding = why.figures?.finding;
  if (!finding) {
    return (
      <>
        <p className="small muted">{t.timeline.none}</p>
        {why.figures?.moves?.map((move) => <p key={move} className="small">{move}</p>)}
      </>
    );
  }
  const { candidate, control } = finding;
  const a = failureRate(candidate);
  const b = failureRate(control);
  return (
    <>
      <dl className="facts">
        <dt>E</dt>
        <dd>{evidence(finding.e)}</dd>
        <dt>{t.timeline.candidate}</dt>
        <dd>{t.timeline.failedOf(count(candidate.errors), count(candidate.requests))} ({rate(a)})</dd>
        <dt>{t.timeline.control}</dt>
        <dd>{t.timeline.failedOf(count(control.errors), count(control.requests))} ({rate(b)})</dd>
        <dt>{t.timeline.ratio}</dt>
        <dd>{ratio(a !== null && b ? a / b : null)}</dd>
      </dl>
      <details className="raw">
        <summary>{t.timeline.raw}</summary>
        <p className="small pre">{why.text}</p>
      </details>
    </>
  );
}
