// What applications see through OpenFeature's official providers: node run.mjs URL KEY SUBJECT-IN SUBJECT-OUT ADMIN
//
// The server's provider asks for one flag, the browser's for all of them, and again when its context changes, or when it
// hears of a change: the kill switch, which ADMIN's token turns on and off. Prints what each saw, as JSON.

import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature as Server } from "@openfeature/server-sdk";
import { OpenFeature as Web, ProviderEvents } from "@openfeature/web-sdk";
import { EventSource } from "eventsource";

const [baseUrl, key, within, without, admin] = process.argv.slice(2);
const headers = [["Authorization", `Bearer ${key}`]];
const said = ({ value, variant, reason, errorCode, flagMetadata }) => ({ value, variant, reason, errorCode, metadata: flagMetadata });

await Server.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
const server = Server.getClient();
const one = async (flag, targetingKey) => said(await server.getStringDetails(flag, "as in the code", { targetingKey }));
const seen = {
  within: await one("chat", within),
  without: await one("chat", without),
  missing: await one("no-such-task", within),
  nobody: said(await server.getStringDetails("chat", "as in the code", {})),
  wrongType: said(await server.getBooleanDetails("chat", false, { targetingKey: within })),
};

await Web.setContext({ targetingKey: within });
// What the provider was answered, by status: an answer that it has already is not sent again.
const statuses = [];
const fetchImplementation = async (...of) => {
  const answer = await fetch(...of);
  statuses.push(answer.status);
  return answer;
};
await Web.setProviderAndWait(new OFREPWebProvider({ baseUrl, headers, fetchImplementation, pollInterval: 0 }));
const web = Web.getClient();
seen.web = said(web.getStringDetails("chat", "as in the code"));
await Web.setContext({ targetingKey: without });
seen.webAfter = said(web.getStringDetails("chat", "as in the code"));
await Web.setContext({ targetingKey: without, plan: "paid" });
seen.webStill = said(web.getStringDetails("chat", "as in the code"));
seen.statuses = [...statuses];

// A browser has an EventSource; with one the provider hears of changes, and asks by itself.
globalThis.EventSource = EventSource;
const kill = (on) =>
  fetch(`${baseUrl}/rpc`, {
    method: "POST",
    headers: { authorization: `Bearer ${admin}`, "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "featureFlags.kill", params: { on, reason: "a test" } }),
  });
await Web.setContext({ targetingKey: within });
await Web.setProviderAndWait(new OFREPWebProvider({ baseUrl, headers, pollInterval: 0 }));
seen.changed = [];
for (const on of [true, false]) {
  const heard = new Promise((resolve) => Web.addHandler(ProviderEvents.ConfigurationChanged, resolve));
  await kill(on);
  await heard;
  seen.changed.push(said(web.getStringDetails("chat", "as in the code")));
}
console.log(JSON.stringify(seen));
await Server.close();
await Web.close();
