// What is around every page: navigation, the bar with the connection and Stop, notices, and the states that cover a page.
import { type JSX, type ReactNode, useCallback, useEffect, useRef, useState } from 'react';
import { Link, useLocation } from 'wouter';
import { clock, zoneName } from '../format.ts';
import { refresh, silentSeconds, useLive } from '../live.ts';
import { note, say } from '../notices.ts';
import { AskingProvider } from '../parts/Asking.tsx';
import { Dialog } from '../parts/Dialog.tsx';
import { Icon } from '../parts/Icon.tsx';
import { useTick } from '../parts/hooks.ts';
import { useKeptSession } from '../parts/keepSession.ts';
import { Command } from '../parts/Text.tsx';
import { serviceLink, useService, useWho } from '../session.ts';
import { serverNow } from '../server.ts';
import { t } from '../texts/index.ts';
import { Find } from './Find.tsx';
import { Notices } from './Notices.tsx';
import { Stop } from './Stop.tsx';
import { type Opened, useKeys } from './keys.ts';
import { PAGES, isCurrent } from './pages.ts';

const Mark = (): JSX.Element => (
  <svg viewBox="0 0 20 20" aria-hidden="true" className="mark">
    <path d="M2 13h4v5H2zM8 8h4v10H8zM14 2h4v16h-4z" fill="currentColor" />
  </svg>
);

export function Shell({ children }: { children: ReactNode }): JSX.Element {
  const [opened, setOpened] = useState<Opened | null>(null);
  const close = useCallback(() => setOpened(null), []);
  const open = useCallback((what: Opened) => setOpened(what), []);
  const [location] = useLocation();
  const { connection } = useLive();
  useKeys(open);
  useFocusOnNewPage(location);
  useSpokenConnection();
  useKeptSession();
  return (
    <AskingProvider>
      <a className="skip" href="#content" onClick={(event) => {
        event.preventDefault();
        document.querySelector<HTMLElement>('main h1')?.focus();
      }}>{t.shell.skip}</a>
      <div className="app">
        <Side location={location} />
        <div className="right">
          <header className="top">
            <Link href="/" className="brandm" aria-label="modelramp"><Mark /></Link>
            <Environment />
            <Status />
            <span className="grow" />
            <button type="button" className="btn hide" onClick={() => open('find')}>{t.shell.find} <kbd>Ctrl K</kbd></button>
            <button type="button" className="btn stop-quiet" onClick={() => open('stop')}>{t.shell.stop} <kbd className="hide">S</kbd></button>
          </header>
          <main className="body" id="content" data-stale={connection === 'lost' || undefined}>
            <Notices />
            {connection === 'lost' && <p className="banner hold"><Icon name="hold" />{t.shell.lostNow}</p>}
            <ServerState />
            <Covered>{children}</Covered>
          </main>
        </div>
      </div>
      <TabBar location={location} />
      {opened === 'stop' && <Stop onClose={close} />}
      {opened === 'find' && <Find onClose={close} />}
      {opened === 'help' && <Help onClose={close} />}
      {connection === 'signed-out' && <SignedOut />}
    </AskingProvider>
  );
}

/** What stands in the way at the server: a storage that is behind, nobody who moves the rollouts, a session that ends. */
function ServerState(): JSX.Element | null {
  const { pulse } = useLive();
  if (!pulse) return null;
  const { storage, controller, serverTime, sessionEndsAt } = pulse;
  const lines = [
    storage.behindMs > 10_000 && t.shell.storageBehind(clock(new Date(serverTime.getTime() - storage.behindMs))),
    controller === 'elsewhere' && t.shell.elsewhere,
    controller === 'nobody' && t.shell.nobody,
    sessionEndsAt && sessionEndsAt.getTime() - serverTime.getTime() < 5 * 60_000 && t.shell.sessionEnds(clock(sessionEndsAt)),
  ].filter((line) => typeof line === 'string');
  return <>{lines.map((line) => <p key={line} className="banner watch"><Icon name="watch" />{line}</p>)}</>;
}

/** The page, or why it cannot be shown. */
function Covered({ children }: { children: ReactNode }): JSX.Element {
  const who = useWho();
  const { connection } = useLive();
  if (who?.role === 'user' || connection === 'forbidden') {
    return (
      <div className="panel pad">
        <h1 tabIndex={-1}>{t.shell.askAdmin}</h1>
        <p>{t.shell.askAdminText}</p>
      </div>
    );
  }
  return (
    <>
      {who?.role === 'viewer' && <p className="banner quiet"><Icon name="quiet" />{t.shell.viewer}</p>}
      {children}
    </>
  );
}

function Side({ location }: { location: string }): JSX.Element {
  const { rollouts, pulse } = useLive();
  const who = useWho();
  return (
    <nav className="side" aria-label={t.shell.main}>
      <Link href="/" className="brand"><Mark />modelramp</Link>
      <ul>
          {PAGES.map(({ name, path }) => (
            <li key={name}>
              <Link href={path} aria-current={isCurrent(path, location) ? 'page' : undefined}>
                <Icon name={name} />
                {t.pages[name]}
                {name === 'alerts' && !!pulse?.alerts?.waiting && <span className="count w" title={t.shell.alertsWaiting(pulse.alerts.waiting)}>{pulse.alerts.waiting}</span>}
                {name === 'rollouts' && rollouts.length > 0 && <span className="count" title={t.shell.liveCount(rollouts.length)}>{rollouts.length}<span className="sr"> {t.pages.rollouts}</span></span>}
              </Link>
            </li>
          ))}
      </ul>
      <div className="foot">
        {who && <p>{t.shell.signedInAs(who.name, who.role)}</p>}
        <p>{t.shell.times(zoneName(serverNow()))}</p>
        {pulse && <p className="num">{pulse.version}</p>}
      </div>
    </nav>
  );
}

function TabBar({ location }: { location: string }): JSX.Element {
  const tabs = [
    { name: 'overview', path: '/' }, { name: 'rollouts', path: '/rollouts' }, { name: 'requests', path: '/requests' }, { name: 'more', path: '/more' },
  ] as const;
  const inTabs = tabs.some(({ path }) => isCurrent(path, location));
  return (
    <nav className="tabbar" aria-label={t.shell.short}>
      {tabs.map(({ name, path }) => (
        <Link key={name} href={path} aria-current={isCurrent(path, location) || (name === 'more' && !inTabs) ? 'page' : undefined}>
          <Icon name={name} />
          {t.pages[name]}
        </Link>
      ))}
    </nav>
  );
}

/** Where this is, so that nobody takes staging for production. */
function Environment(): JSX.Element | null {
  const { pulse } = useLive();
  return pulse && <span className="env">{pulse.environment}</span>;
}

/** Whether what is shown is current. */
function Status(): JSX.Element {
  const { connection, at } = useLive();
  useTick(1000);
  const shape = { live: '●', polling: '●', connecting: '○', delayed: '◐', lost: '■', 'signed-out': '■', forbidden: '■' }[connection];
  const told = at ? clock(at) : '–';
  const word = {
    live: t.shell.live, polling: t.shell.polling, connecting: t.shell.connecting, delayed: t.shell.delayed(silentSeconds()), lost: t.shell.lost(told), 'signed-out': t.shell.signedOut, forbidden: t.shell.askAdmin,
  }[connection];
  return (
    <span className={`live ${connection}`}>
      <span className="shape" aria-hidden="true">{shape}</span>
      {word}
      {connection === 'live' && at && <span className="hide num"> · {t.shell.updated(told)}</span>}
    </span>
  );
}

function SignedOut(): JSX.Element {
  const who = useWho();
  const service = useService();
  return (
    <Dialog title={t.shell.signedOut} onClose={() => void refresh()}>
      <p>{t.shell.signedOutText}</p>
      <Command text={`modelramp token --login-link --user ${who?.id ?? 1}`} />
      <div className="row end">
        {service && <a className="btn" href={serviceLink('/')} target="_blank" rel="noreferrer">{t.login.service}</a>}
        <button type="button" className="btn primary" data-first onClick={() => void refresh()}>{t.shell.tryAgain}</button>
      </div>
    </Dialog>
  );
}

function Help({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Dialog title={t.help.title} onClose={onClose}>
      <dl className="keys">
        {t.help.keys.map(({ keys, does }) => (
          <div key={keys}>
            <dt>{keys.split(' ').map((key) => <kbd key={key}>{key}</kbd>)}</dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <div className="row end"><button type="button" className="btn" data-first onClick={onClose}>{t.shell.close}</button></div>
    </Dialog>
  );
}

/** After a navigation the focus is on the heading, as it would be on a new page. */
function useFocusOnNewPage(location: string): void {
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    window.scrollTo(0, 0);
    document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
  }, [location]);
}

/** Says once that the connection went, and once that it is back with what was missed. */
function useSpokenConnection(): void {
  const { connection, missed, at } = useLive();
  const before = useRef(connection);
  const toldAt = at ? clock(at) : '–';
  useEffect(() => {
    const was = before.current;
    before.current = connection;
    if (connection === 'lost' && was !== 'lost') say(t.shell.lost(toldAt), 'assertive');
    if (connection === 'live' && was === 'lost') note({ tone: 'good', text: t.shell.back(missed) });
    // Only a change of the connection speaks, not each new time.
  }, [connection, missed, toldAt]);
}
