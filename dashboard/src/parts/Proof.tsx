// That the history is true, and what to hand to somebody who was not there: the replay and the deployment log.
import { useMutation } from '@tanstack/react-query';
import type { RolloutDetails } from 'modelramp-schema';
import type { JSX } from 'react';
import { count } from '../format.ts';
import { server } from '../server.ts';
import { t } from '../texts/index.ts';
import { Icon } from './Icon.tsx';
import { Fault, Panel } from './Panel.tsx';
import { CopyButton } from './Text.tsx';

export function Proof({ rollout: { id } }: { rollout: RolloutDetails }): JSX.Element {
  const replay = useMutation({ mutationFn: () => server.rollout.replay.query({ id }) });
  const report = useMutation({ mutationFn: () => server.rollout.report.query({ id }) });
  return (
    <Panel title={t.proof.title}>
      <div className="pad stack">
        <p className="small muted">{t.proof.text}</p>
        <div className="row">
          <button type="button" className="btn" disabled={replay.isPending} onClick={() => replay.mutate()}>{replay.isPending ? t.proof.replaying : t.proof.replay}</button>
          <button type="button" className="btn" disabled={report.isPending} onClick={() => report.mutate()}>{t.actions.report}</button>
        </div>
        {replay.error && <Fault error={replay.error} />}
        {replay.data && (
          <div role="status">
            <p><Icon name={replay.data.isIdentical ? 'good' : 'bad'} className={replay.data.isIdentical ? 'g' : 'b'} /> <b className="strong">{replay.data.isIdentical ? t.proof.same : t.proof.differs}</b> {t.proof.folded(count(replay.data.events), count(replay.data.decisions.length))}</p>
            <ul className="small muted why">
              {replay.data.decisions.filter(({ sameVerdict }) => !sameVerdict).map(({ version, action, damage }) => <li key={version}>{t.timeline.version} {version}, {action}: {damage ?? t.proof.other}</li>)}
              {replay.data.remarks.map((remark) => <li key={remark}>{remark}</li>)}
            </ul>
          </div>
        )}
        {report.error && <Fault error={report.error} />}
        {report.data && (
          <>
            <div className="scroll" tabIndex={0} role="region" aria-label={t.actions.report}><pre className="mono small">{report.data.markdown}</pre></div>
            <div className="row"><CopyButton text={report.data.markdown} /></div>
          </>
        )}
      </div>
    </Panel>
  );
}
