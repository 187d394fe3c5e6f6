// Making a key for a program. Its secret is shown once, because nobody keeps it.
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, type JSX, useState } from 'react';
import { server } from '../server.ts';
import { t } from '../texts/index.ts';
import { Dialog } from './Dialog.tsx';
import { Fault } from './Panel.tsx';
import { Command } from './Text.tsx';

/** A number that was written; `null` where nothing was, `undefined` where it is none. */
function amount(text: string): number | null | undefined {
  if (text.trim() === '') return null;
  const value = Number(text.replace(',', '.'));
  return Number.isFinite(value) && value > 0 ? value : undefined;
}

export function NewKey({ onClose }: { onClose: () => void }): JSX.Element {
  const queries = useQueryClient();
  const [name, setName] = useState('');
  const [models, setModels] = useState('');
  const [limits, setLimits] = useState({ requestsPerMinute: '', tokensPerDay: '', dollarsPerDay: '' });
  const make = useMutation({
    mutationFn: () => {
      const [requestsPerMinute, tokensPerDay, dollarsPerDay] = [amount(limits.requestsPerMinute), amount(limits.tokensPerDay), amount(limits.dollarsPerDay)];
      const wanted = models.split(',').map((model) => model.trim()).filter(Boolean);
      return server.keys.create.mutate({ name: name.trim(), models: wanted.length > 0 ? wanted : undefined, limits: { requestsPerMinute: requestsPerMinute ?? undefined, tokensPerDay: tokensPerDay ?? undefined, dollarsPerDay: dollarsPerDay ?? undefined } });
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ['keys.list'] }),
  });
  const fits = /^[\w.-]{1,64}$/.test(name.trim()) && Object.values(limits).every((text) => amount(text) !== undefined);
  const field = (of: keyof typeof limits, title: string): JSX.Element => (
    <label className="labelled">{title}<input className="field num" inputMode="decimal" value={limits[of]} onChange={(event) => setLimits({ ...limits, [of]: event.target.value })} /></label>
  );
  if (make.data) {
    return (
      <Dialog title={t.keys.made(make.data.name)} onClose={onClose}>
        <p>{t.keys.once}</p>
        <Command text={make.data.key} />
        {make.data.unpriced.length > 0 && <p className="small">{t.keys.unpriced(make.data.unpriced.join(', '))}</p>}
        <div className="row end"><button type="button" className="btn primary" data-first onClick={onClose}>{t.keys.kept}</button></div>
      </Dialog>
    );
  }
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (fits) make.mutate();
  };
  return (
    <Dialog title={t.keys.make} onClose={onClose}>
      <form onSubmit={submit}>
        <label className="labelled">{t.keys.nameRule}<input className="field" data-first required maxLength={64} pattern="[\w.\-]+" value={name} onChange={(event) => setName(event.target.value)} /></label>
        <label className="labelled">{t.keys.modelsRule}<input className="field" value={models} onChange={(event) => setModels(event.target.value)} /></label>
        <p className="small muted">{t.keys.limitsRule}</p>
        <div className="row">{field('requestsPerMinute', t.keys.rate)}{field('tokensPerDay', t.keys.tokensPerDay)}{field('dollarsPerDay', t.keys.dollarsPerDay)}</div>
        {make.error && <Fault error={make.error} />}
        <div className="row end">
          <button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button>
          <button type="submit" className="btn primary" disabled={!fits || make.isPending}>{t.keys.make}</button>
        </div>
      </form>
    </Dialog>
  );
}
