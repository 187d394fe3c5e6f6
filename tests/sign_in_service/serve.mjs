// An OpenID Connect issuer (oidc-provider) for the tests of sign-in. Usage: node serve.mjs REDIRECT_URI [CLOCK_OFFSET_MS]
//
// It prints its address as JSON. `GET /walk?url=…` signs `login_hint` in at an authorization address, as a browser would, and
// answers where the browser would be sent then. `GET /fault/NAME` makes each following ID token wrong in one thing: `audience`,
// `signature`, or nothing by `none`; by `resigned` it is signed anew and nothing is wrong, which shows that it is not the signing
// that makes the others wrong. `rotated` and `rotated-unnamed` sign by another key and publish that one alone, under a name or
// without one; `unpublished` signs by it and does not publish it. `token-401` and `token-429` answer so for each code. `held` answers
// nothing about the issuer itself until `failed`, which answers 500 for that. `GET /asked` counts what was asked, by path. The clock
// of the whole issuer is wrong by the offset.
import { exportJWK, generateKeyPair, decodeJwt, decodeProtectedHeader, importJWK, SignJWT } from 'jose';
import Provider from 'oidc-provider';

// Only its address goes to the standard output, which nobody reads any further.
for (const name of ['info', 'warn', 'debug']) console[name] = console.error;
process.stdout.on('error', () => {});

const [redirectUri, offset = '0'] = process.argv.slice(2);
const now = Date.now.bind(Date);
Date.now = () => now() + Number(offset);

const PEOPLE = {
  bo: { name: 'Bo Ærø', email: 'bo@example.com', email_verified: true, roles: ['staff', 'ramp-admins'] },
  eva: { name: '<b>Eva</b>', roles: ['staff'] },
  none: { name: 'No roles' },
};
const pair = async (kid) => {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg: 'RS256', use: 'sig' };
};
const [own, foreign, next] = [await pair('own'), await pair('own'), await pair('next')];
const published = ({ kty, n, e, kid }, named) => ({ kty, n, e, use: 'sig', alg: 'RS256', ...(named && { kid }) });

let provider;
const app = { fault: 'none', asked: {}, held: [] };
const { createServer } = await import('node:http');
const server = createServer((request, response) => handle(request, response).catch((error) => response.writeHead(500).end(String(error))));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const client = (client_id, more = {}) => ({ client_id, redirect_uris: [redirectUri], grant_types: ['authorization_code'], response_types: ['code'], scope: 'openid profile email roles', ...more });
provider = new Provider(issuer, {
  clients: [client('modelramp', { client_secret: 'a secret: with/odd+signs' }), client('public', { token_endpoint_auth_method: 'none' })],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], roles: ['roles'] },
  scopes: ['openid', 'profile', 'email', 'roles'],
  jwks: { keys: [own] },
  cookies: { keys: ['a key for cookies'] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
  // Nobody is asked for consent.
  loadExistingGrant: async (context) => {
    const grant = new context.oidc.provider.Grant({ clientId: context.oidc.client.clientId, accountId: context.oidc.session.accountId });
    grant.addOIDCScope('openid profile email roles');
    await grant.save();
    return grant;
  },
});
// What was asked of it is a test's business, and its warnings about keys in memory are nobody's.
provider.on('server_error', (_, error) => console.error(error));
const answer = provider.callback();

/** The same ID token, wrong in one thing. */
async function spoilt(token) {
  const claims = decodeJwt(token);
  if (app.fault === 'audience') claims.aud = 'another';
  const { kid, ...header } = decodeProtectedHeader(token);
  const [key, named] = {
    signature: [foreign, { kid }],
    rotated: [next, { kid: next.kid }],
    'rotated-unnamed': [next, {}],
    unpublished: [next, { kid: next.kid }],
  }[app.fault] ?? [own, { kid }];
  return new SignJWT(claims).setProtectedHeader({ ...header, ...named }).sign(await importJWK(key, 'RS256'));
}

async function handle(request, response) {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith('/fault/')) {
    app.fault = url.pathname.slice('/fault/'.length);
    if (app.fault !== 'held') app.held.splice(0).forEach((go) => go());
    return response.end();
  }
  if (url.pathname === '/asked') return response.end(JSON.stringify(app.asked));
  app.asked[url.pathname] = (app.asked[url.pathname] ?? 0) + 1;
  const status = { 'token-401': 401, 'token-429': 429 }[app.fault];
  if (url.pathname === '/token' && status) {
    return response.writeHead(status).end(JSON.stringify({ error: status === 401 ? 'invalid_client' : 'slow_down' }));
  }
  if (url.pathname.startsWith('/.well-known/')) {
    if (app.fault === 'held') await new Promise((go) => app.held.push(go));
    if (app.fault === 'failed') return response.writeHead(500).end();
  }
  if (url.pathname === '/jwks' && app.fault.startsWith('rotated')) {
    return response.end(JSON.stringify({ keys: [published(next, app.fault === 'rotated')] }));
  }
  if (url.pathname === '/walk') return response.end(await walk(url.searchParams.get('url')));
  if (url.pathname.startsWith('/interaction/')) {
    const { params } = await provider.interactionDetails(request, response);
    return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
  }
  if (url.pathname === '/token' && app.fault !== 'none') {
    const end = response.end.bind(response);
    response.write = () => true;
    response.end = (body) => {
      const told = JSON.parse(body.toString());
      spoilt(told.id_token).then((id_token) => {
        const text = JSON.stringify({ ...told, id_token });
        response.setHeader('content-length', Buffer.byteLength(text));
        end(text);
      }, (error) => end(String(error)));
    };
  }
  return answer(request, response);
}

/** Follows redirects with cookies until the client's own address. */
async function walk(start) {
  const cookies = new Map();
  let at = start;
  for (let step = 0; step < 10; step += 1) {
    const told = await fetch(at, { redirect: 'manual', headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') } });
    for (const cookie of told.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      cookies.set(name, value);
    }
    const to = told.headers.get('location');
    if (!to) return `stopped at ${at} with ${told.status}: ${(await told.text()).slice(0, 500)}`;
    at = new URL(to, at).href;
    if (at.startsWith(redirectUri)) return at;
  }
  return `went round in a ring at ${at}`;
}

console.log(JSON.stringify({ issuer }));
