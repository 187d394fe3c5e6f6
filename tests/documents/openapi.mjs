// Usage: node openapi.mjs URL TOKEN
//
// The server's OpenAPI document is valid by the ecosystem's validator, and what the server answers is
// what the document says: results, errors with and without details, of users, admins and nobody.
import assert from "node:assert/strict";
import SwaggerParser from "@apidevtools/swagger-parser";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [url, token] = process.argv.slice(2);
const signedIn = { authorization: `Bearer ${token}` };

const refused = await fetch(`${url}/api/openapi.json`);
assert.equal(refused.status, 401);
assert.equal((await refused.json()).error.data.code, "UNAUTHORIZED");

const document = await (await fetch(`${url}/api/openapi.json`, { headers: signedIn })).json();
await SwaggerParser.validate(structuredClone(document));
const superjson = JSON.stringify(document.paths["/api/trpc/auth.me"]).includes('"meta"');
console.log(`valid: OpenAPI ${document.openapi}, ${Object.keys(document.paths).length} paths`);

// `int64` and its like are numbers; `uint` is told to people.
const ajv = addFormats(new Ajv({ strict: false, allErrors: true }));
for (const format of ["uint", "uint32", "uint64"]) ajv.addFormat(format, true);
ajv.addSchema({ $id: "document", ...document });
const escape = (part) => part.replaceAll("~", "~0").replaceAll("/", "~1");
const at = (...parts) => ajv.compile({ $ref: `document#/${parts.map(escape).join("/")}` });

function schemaOf(path, method, status) {
  const { responses } = document.paths[path][method];
  const response = responses[status] ?? responses.default;
  const place = response.$ref
    ? response.$ref.slice(2).split("/")
    : ["paths", path, method, "responses", String(status)];
  return at(...place, "content", "application/json", "schema");
}

const wire = (input) => JSON.stringify(superjson ? { json: input } : input);
let checked = 0;

/** Calls, and holds the answer against what the document says about this status. */
async function call(name, input, status, headers = signedIn, posted = false) {
  const path = `/api/trpc/${name}`;
  const method = document.paths[path].get && !posted ? "get" : "post";
  let response;
  if (method === "post") {
    const body = input === undefined ? undefined : wire(input);
    response = await fetch(url + path, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body,
    });
  } else {
    const query = input === undefined ? "" : `?input=${encodeURIComponent(wire(input))}`;
    response = await fetch(url + path + query, { headers });
  }
  const answer = await response.json();
  assert.equal(response.status, status, `${name}: ${JSON.stringify(answer)}`);
  const validate = schemaOf(path, method, status);
  assert.ok(validate(answer), `${name}: ${JSON.stringify(validate.errors)} in ${JSON.stringify(answer)}`);
  checked += 1;
  return { answer, validate, value: (value) => (superjson ? value.json : value) };
}

const { answer, validate } = await call("aiMetrics.getSummary", { lastMinutes: 5 }, 200);
// The check can fail.
const data = superjson ? answer.result.data.json : answer.result.data;
for (const wrong of ["p95ResponseTime", "health"]) {
  const kept = data[wrong];
  data[wrong] = "none";
  assert.ok(!validate(answer), `${wrong} is not looked at`);
  data[wrong] = kept;
}

await call("aiMetrics.getSummary", undefined, 200);
await call("aiMetrics.getModelBreakdown", undefined, 200);
await call("aiMetrics.checkRolloutHealth", undefined, 200);
await call("aiMetrics.getRolloutStatus", undefined, 200);
await call("aiMetrics.getSummary", { lastMinutes: 5 }, 200, signedIn, true);
await call("aiMetrics.getSummary", { lastMinutes: 0 }, 400, signedIn, true);
await call("auth.me", undefined, 200);
await call("auth.me", undefined, 200, {});
await call("system.health", { timestamp: 1 }, 200, {});
await call("system.aiConfig", undefined, 200, {});
await call("models.list", undefined, 200);
await call("models.explain", { task: "chat" }, 200);
await call("featureFlags.get", undefined, 200);
const made = await call("chat.createConversation", { title: "One" }, 200);
const conversation = made.value(made.answer.result.data).id;
await call("chat.sendMessage", { conversationId: conversation, content: "Hello" }, 200);
await call("chat.getMessages", { conversationId: conversation, limit: 1 }, 200);
await call("chat.getConversations", undefined, 200);
await call("rollout.list", { all: true }, 200);

await call("aiMetrics.getSummary", { lastMinutes: "five" }, 400);
await call("chat.sendMessage", { conversationId: conversation }, 400);
await call("chat.getMessages", { conversationId: 1_000_000 }, 404);
await call("aiMetrics.getSummary", undefined, 401, {});
await call("rollout.get", { id: "none" }, 404);
const plan = await call("rollout.start", { plan: "[rollout]\nnope = 1\n", reason: "a test" }, 400);
assert.ok(plan.value(plan.answer.error).data.details.faults.length > 0);

// The wire's own error, which every operation has as `default`.
const wrong = await fetch(`${url}/api/trpc/chat.createConversation`, { headers: signedIn });
assert.equal(wrong.status, 405);
const any = at("components", "responses", "Error", "content", "application/json", "schema");
assert.ok(any(await wrong.json()), JSON.stringify(any.errors));

console.log(`${checked} answers are as described, 0 failed`);
