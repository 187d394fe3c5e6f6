// One rollout: its state, its ramp, what is known, the evidence, every change, and the buttons.
import { useQuery } from '@tanstack/react-query';
import type { RolloutDetails } from 'modelramp-schema';
import { type JSX, useEffect, useState } from 'react';
import { Link, useSearchParams } from 'wouter';
import { count, evidence, latency, ratio, margin as tolerated } from '../format.ts';
import { type Action, atLeast, failureRatio, hindrance } from '../judgement.ts';
import { useLive } from '../live.ts';
import { useAsking } from '../parts/Asking.tsx';
import { Compare } from '../parts/Compare.tsx';
import { EvidenceFigure, RatioFigure, Tests } from '../parts/Evidence.tsx';
import { DecisionFigures, FeedItem, changeText } from '../parts/Feed.tsx';
import { Hero, titleOf } from '../parts/Hero.tsx';
import { Icon, type IconName } from '../parts/Icon.tsx';
import { Fault, Panel, Waiting } from '../parts/Panel.tsx';
import { Proof } from '../parts/Proof.tsx';
import { Ramp } from '../parts/Ramp.tsx';
import { Command, CsvLink, Rich } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { useDecisions, useHistory } from '../queries.ts';
import { curl, server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

export function Rollout({ id }: { id: string }): JSX.Element {
  const { rollouts, at, flags } = useLive();
  const live = rollouts.find((rollout) => rollout.id === id || rollout.id.startsWith(id));
  // One that is not among the live ones has ended, or is not there.
  const asked = useQuery({ queryKey: ['rollout.get', id, live ? 'live' : 'ended'], queryFn: () => server.rollout.get.query({ id }), enabled: at !== null && !live, placeholderData: (before) => before });
  const rollout = live ?? asked.data;
  useTitle(rollout ? titleOf(rollout, flags?.killed ?? false) : `${t.pages.rollouts} · modelramp`);
  if (!rollout) {
    return (
      <>
        <h1 tabIndex={-1} className={asked.error ? '' : 'sr'}>{t.pages.rollouts}</h1>
        {asked.error ? <Fault error={asked.error} again={() => void asked.refetch()} /> : <Waiting rows={8} />}
      </>
    );
  }
  return <Shown rollout={rollout} />;
}

function Shown({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  const history = useHistory(rollout.id, rollout.version).data ?? [];
  const { pulse } = useLive();
  return (
    <>
      <p className="crumb"><Link href="/rollouts">{t.pages.rollouts}</Link> / {rollout.plan} / <span className="mono">{rollout.id}</span></p>
      <Hero rollout={rollout} />
      <Ramp rollout={rollout} history={history} />
      <div className="cols">
        <div className="stack">
          <Known rollout={rollout} />
          <Compare rollout={rollout} variants={rollout.live ? pulse?.window : undefined} />
        </div>
        <div className="stack">
          <Changing rollout={rollout} />
          <Timeline rollout={rollout} />
          <Proof rollout={rollout} />
        </div>
      </div>
    </>
  );
}

type Mark = 'watch' | 'good' | 'quiet';
const CLASSES: Record<Mark, string> = { watch: 'w', good: 'g', quiet: '' };

/** What the figures say, a sentence each: speaks against ▲, speaks for ✓, open ⓘ. */
function sentences(rollout: RolloutDetails): [Mark, string][] {
  const { candidate, control, alarms, proof, level } = rollout.finding;
  const times = failureRatio(rollout);
  const said: [Mark, string][] = [];
  for (const alarm of alarms) said.push(['watch', `${t.know.alarm} ${t.alarms[alarm.name]}${alarm.name === 'not-counted' || alarm.name === 'judge-stopped' ? ` (${alarm.why})` : ''}.`]);
  const least = atLeast(rollout);
  if (times === null && candidate.errors > 0 && control.requests > 0) {
    // Control never failed: there is no ratio, and evidence all the same.
    said.push([
      level === 'clear' ? 'quiet' : 'watch',
      `${t.know.onlyIt(count(candidate.errors), count(candidate.requests), count(control.requests))} ${least === null ? '' : `${t.know.atLeast(ratio(least))} `}${t.evidence.title}: ${evidence(rollout.finding.e)}.`,
    ]);
  } else if (times === null) said.push(['quiet', t.know.noneFailed]);
  else {
    const counted = t.level.times(ratio(times), tolerated(rollout.wanted.evidence.margin));
    const against = times > rollout.wanted.evidence.margin;
    said.push([against ? 'watch' : 'good', against ? `${t.know.moreOften(ratio(times))} ${t.evidence.title}: ${evidence(rollout.finding.e)}.${level === 'watch' ? ` ${t.know.tooLittle}` : ''}` : `${t.know.notMore} ${counted}`]);
  }
  if (candidate.requests > 0 && control.requests > 0) {
    const slow = candidate.averageMs > control.averageMs * 1.05;
    const slowE = rollout.verdict.metrics.find(({ metric }) => metric === 'slow')?.e;
    said.push([slow ? 'quiet' : 'good', (slow ? t.know.slower : t.know.faster)(latency(candidate.averageMs), latency(control.averageMs)) + (slow && slowE !== undefined ? ` ${t.know.slowEvidence(evidence(slowE))}` : '')]);
  }
  if (rollout.stage < rollout.stages || rollout.live) {
    said.push([proof === 'none' ? 'quiet' : 'good', proof === 'proven' ? t.know.proven : proof === 'recommended' ? t.know.recommended : t.know.notProven]);
  }
  return said;
}

function Known({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const open = search.get('evidence') === '1';
  return (
    <Panel title={t.know.title} note={t.know.scope(rollout.stage, count(rollout.finding.candidate.requests), count(rollout.finding.users))}>
      <ul className="plain pad">
        {sentences(rollout).map(([mark, text]) => (
          <li key={text.slice(0, 24)}><Icon name={mark as IconName} className={CLASSES[mark]} /><p><Rich text={text} /></p></li>
        ))}
      </ul>
      <details
        className="evid"
        open={open}
        onToggle={(event) => {
          const now = event.currentTarget.open;
          if (now !== open) setSearch((before) => {
            if (now) before.set('evidence', '1');
            else before.delete('evidence');
            return before;
          }, { replace: true });
        }}
      >
        <summary>{t.evidence.show}</summary>
        {open && (
          <div className="grid2">
            <figure>
              <h3>{t.evidence.title}</h3>
              <EvidenceFigure rollout={rollout} />
            </figure>
            <figure>
              <h3>{t.evidence.ratioTitle}</h3>
              <RatioFigure rollout={rollout} />
              <figcaption className="small muted">{t.evidence.ratioNote}; {t.evidence.ratioBand}.</figcaption>
            </figure>
            <div className="wide"><Tests rollout={rollout} /></div>
            <details className="wide raw">
              <summary>{t.know.server}</summary>
              <ul className="plain small">{rollout.words.map((sentence) => <li key={sentence} className="one">{sentence}</li>)}</ul>
            </details>
            <div className="wide"><Command text={curl('rollout.get', { id: rollout.id })} /></div>
          </div>
        )}
      </details>
    </Panel>
  );
}

/** Decisions that are shown at first, and the most that the server tells at once. */
const SHOWN = 50;
const MOST = 1000;

function Timeline({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const at = search.get('at');
  // As many as it takes to show the decision that the address names.
  const [limit, setLimit] = useState(() => Math.min(MOST, Math.max(SHOWN, at !== null && /^\d+$/.test(at) ? rollout.version - Number(at) + 1 : 0)));
  const history = useHistory(rollout.id, rollout.version, limit);
  const decisions = useDecisions(rollout.id, rollout.version, limit).data;
  useEffect(() => {
    if (at) document.querySelector(`#version-${CSS.escape(at)}`)?.scrollIntoView({ block: 'center' });
  }, [at, decisions]);
  const entries = history.data;
  return (
    <Panel
      title={t.timeline.title}
      side={<CsvLink file="audit" input={{ subject: 'rollout', id: rollout.id }} />}
    >
      {at !== null && decisions && !decisions.some(({ version }) => `${version}` === at) && <p className="banner watch"><Icon name="watch" />{t.timeline.noVersion(at)}</p>}
      {history.error ? <Fault error={history.error} /> : !entries ? <Waiting /> : (
        <ol className="feed">
          {entries.toReversed().map((entry) => {
            const why = decisions?.find(({ version }) => version === entry.version);
            return (
              <FeedItem key={entry.version} entry={entry}>
                {why && (
                  <details
                    data-decision
                    id={`version-${entry.version}`}
                    open={at === `${entry.version}`}
                    onToggle={(event) => {
                      const now = event.currentTarget.open;
                      if (now === (at === `${entry.version}`)) return;
                      setSearch((before) => {
                        if (now) before.set('at', `${entry.version}`);
                        else before.delete('at');
                        return before;
                      }, { replace: true });
                    }}
                  >
                    <summary aria-label={`${t.timeline.evidence}: ${changeText(entry)}`}>{t.timeline.evidence}</summary>
                    <DecisionFigures why={why} />
                  </details>
                )}
              </FeedItem>
            );
          })}
        </ol>
      )}
      {entries && (entries[0]?.version ?? 1) > 1 && limit < MOST && <div className="pad"><button type="button" className="btn" disabled={history.isFetching} onClick={() => setLimit(Math.min(MOST, limit * 4))}>{t.timeline.earlier}</button></div>}
    </Panel>
  );
}

const ACTIONS: Action[] = ['pause', 'resume', 'approve', 'advance', 'set-share'];

function Changing({ rollout }: { rollout: RolloutDetails }): JSX.Element | null {
  const ask = useAsking();
  const mayChange = useMayChange();
  const { connection } = useLive();
  if (!mayChange || !rollout.live) return null;
  const connected = connection !== 'lost';
  const can = ACTIONS.map((action) => ({ action, no: hindrance(rollout, action, connected) }));
  const hindered = can.filter(({ no }) => no !== null);
  return (
    <Panel title={t.change.title} note={t.change.based(rollout.version)}>
      <div className="pad">
        <div className="row">
          {can.map(({ action, no }) => (
            <button key={action} type="button" className="btn" disabled={no !== null} aria-describedby={no ? 'no-changes' : undefined} onClick={() => ask({ action, rollout })}>
              {t.actions[action]}
            </button>
          ))}
        </div>
        <ul className="small muted why" id="no-changes">
          {hindered.map(({ action, no }) => <li key={action}>{t.actions[action].replace('…', '')}: {typeof no === 'string' ? t.actions.no[no] : no?.told}</li>)}
          <li>{t.change.manners}</li>
        </ul>
      </div>
    </Panel>
  );
}
