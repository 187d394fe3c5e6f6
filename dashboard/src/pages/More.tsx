// The rest of the navigation, on phones.
import type { JSX } from 'react';
import { Link } from 'wouter';
import { Icon } from '../parts/Icon.tsx';
import { Head } from '../parts/Panel.tsx';
import { useTitle } from '../parts/hooks.ts';
import { zoneName } from '../format.ts';
import { serverNow } from '../server.ts';
import { useWho } from '../session.ts';
import { PAGES } from '../shell/pages.ts';
import { t } from '../texts/index.ts';

export function More(): JSX.Element {
  const who = useWho();
  useTitle(`${t.pages.more} · modelramp`);
  return (
    <>
      <Head title={t.pages.more} />
      <ul className="panel links">
        {PAGES.filter(({ name }) => !['overview', 'rollouts', 'requests'].includes(name)).map(({ name, path }) => (
          <li key={name}><Link href={path}><Icon name={name} />{t.pages[name]}<span className="grow" /><Icon name="right" /></Link></li>
        ))}
      </ul>
      <p className="small muted">{who && t.shell.signedInAs(who.name, who.role)} · {t.shell.times(zoneName(serverNow()))}</p>
    </>
  );
}
