// What wrk cannot see of a gateway: whether each chunk of a stream comes as it left, how even they come, and whether one
// caller feels what others, or a model's server, do. Prints rows of a table. Needs nothing but Node.
// Usage: scenes.mjs NAME URL MODELS [HEADERS]: where MODELS is JSON, from `mock`, `pace-10`, `down` and `nobody` to what this gateway
// calls them (the last two fall back to `mock`; null where it cannot), and HEADERS are NAME: VALUE, one a line.
import http from 'node:http';

const [name, url, models, headers = ''] = process.argv.slice(2);
const called = JSON.parse(models);
const agent = new http.Agent({ keepAlive: true, noDelay: true });
const own = Object.fromEntries(headers.split('\n').filter(Boolean).map((line) => line.split(/:\s*(.*)/s).slice(0, 2)));
const STREAMS = 1000;
const AT_ONCE = 64;
const ASKED = 400;

/** Asks once: when each piece came, in milliseconds since it was asked, and all of it. */
function ask(model, stream) {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'a' }], stream });
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const request = http.request(`${url}/chat/completions`, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'x-modelramp-subject': 'user-1', ...own } }, (response) => {
      const at = [];
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece) => { at.push(performance.now() - began); text += piece; });
      response.on('end', () => (response.statusCode === 200 ? resolve({ at, text }) : reject(new Error(`${response.statusCode} ${text.slice(0, 200)}`))));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

const part = (values, share) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
const figures = (values) => `${part(values, 0.5).toFixed(3)} | ${part(values, 0.99).toFixed(3)}`;
const row = (scene, text) => console.log(`| ${scene} | ${name} | ${text} |`);
const events = (text) => text.split('\n').filter((line) => line.startsWith('data:'));

/** How long whole answers take, one after the other. */
async function inTurn(model, count = ASKED, before = 50) {
  for (let n = 0; n < before; n += 1) await ask(model, false);
  const took = [];
  for (let n = 0; n < count; n += 1) took.push((await ask(model, false)).at.at(-1));
  return took;
}

/** Streams, so many at once; what `see` makes of each. */
async function many(model, count, atOnce, see) {
  let left = count;
  const one = async () => { while (left > 0) { left -= 1; see(await ask(model, true)); } };
  await Promise.all(Array.from({ length: atOnce }, one));
}

// By bytes: the events of each of a thousand streams are those that the model's server sends.
const expected = JSON.stringify(events(process.env.EXPECTED ?? (await ask(called.mock, true)).text));
let same = 0;
await many(called.mock, STREAMS, AT_ONCE, ({ text }) => { same += JSON.stringify(events(text)) === expected ? 1 : 0; });
row(`streams whose events are as they left, of ${STREAMS}, ${AT_ONCE} at once`, `${same} | `);

const gaps = [];
await many(called['pace-10'], 20, 1, ({ at }) => at.slice(1).forEach((ms, place) => gaps.push(ms - at[place])));
row('ms between chunks that leave 10 ms apart', figures(gaps));

row('ms of a whole answer, nobody else there', figures(await inTurn(called.mock)));
let others = true;
const slow = Promise.all(Array.from({ length: 63 }, async () => { while (others) await ask(called['pace-10'], true); }));
row('the same beside 63 slow streams', figures(await inTurn(called.mock)));
others = false;
await slow;

for (const [model, what] of [['down', 'answers 503'], ['nobody', 'is not there']]) {
  // Fewer than a breaker wants to see.
  if (called[model]) row(`ms of a whole answer of the second model, as the server of the first ${what}`, figures(await inTurn(called[model], 15, 2)));
}
agent.destroy();
