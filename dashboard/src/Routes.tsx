// Which page an address shows.
import { type JSX, useEffect } from 'react';
import { Link, Route, Switch, useLocation, useSearch } from 'wouter';
import { follow } from './live.ts';
import { Alerts } from './pages/Alerts.tsx';
import { Audit } from './pages/Audit.tsx';
import { Explain } from './pages/Explain.tsx';
import { Flags } from './pages/Flags.tsx';
import { Keys } from './pages/Keys.tsx';
import { Login } from './pages/Login.tsx';
import { Migration } from './pages/Migration.tsx';
import { Models } from './pages/Models.tsx';
import { More } from './pages/More.tsx';
import { NewRollout } from './pages/NewRollout.tsx';
import { Overview } from './pages/Overview.tsx';
import { Requests } from './pages/Requests.tsx';
import { Rollout } from './pages/Rollout.tsx';
import { Rollouts } from './pages/Rollouts.tsx';
import { Settings } from './pages/Settings.tsx';
import { Head } from './parts/Panel.tsx';
import { useWho } from './session.ts';
import { Shell } from './shell/Shell.tsx';
import { t } from './texts/index.ts';

export function Routes(): JSX.Element {
  return (
    <Switch>
      <Route path="/login"><Login /></Route>
      <Route><SignedIn /></Route>
    </Switch>
  );
}

function SignedIn(): JSX.Element | null {
  const who = useWho();
  const [location, go] = useLocation();
  const search = useSearch();
  useEffect(() => {
    // An alert's link leads to what it is about, also through the sign-in.
    const next = location + (search && `?${search}`);
    if (who === null) go(next === '/' ? '/login' : `/login?next=${encodeURIComponent(next)}`, { replace: true });
  }, [who, go, location, search]);
  useEffect(() => (who ? follow() : undefined), [who?.id]);
  if (who === null) return null;
  return (
    <Shell>
      <Switch>
        <Route path="/"><Overview /></Route>
        <Route path="/rollouts"><Rollouts /></Route>
        <Route path="/rollouts/new"><NewRollout /></Route>
        <Route path="/rollouts/:id">{({ id }) => <Rollout key={id} id={id} />}</Route>
        <Route path="/models/:name?">{({ name }) => <Models name={name} />}</Route>
        <Route path="/requests/:id?">{({ id }) => <Requests id={id} />}</Route>
        <Route path="/explain"><Explain /></Route>
        <Route path="/flags"><Flags /></Route>
        <Route path="/alerts"><Alerts /></Route>
        <Route path="/audit"><Audit /></Route>
        <Route path="/migration"><Migration /></Route>
        <Route path="/keys"><Keys /></Route>
        <Route path="/settings"><Settings /></Route>
        <Route path="/more"><More /></Route>
        <Route>
          <Head title={t.shell.notFound} />
          <p><Link href="/">{t.shell.goHome}</Link></p>
        </Route>
      </Switch>
    </Shell>
  );
}
