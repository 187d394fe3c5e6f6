// What applications see through OpenFeature's official providers: node run.mjs URL KEY SUBJECT-IN SUBJECT-OUT
//
// The server's provider asks for one flag, the browser's for all of them, and again when its context changes. Prints what
// each saw, as JSON.

import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature as Server } from "@openfeature/server-sdk";
import { OpenFeature as Web } from "@openfeature/web-sdk";

const [baseUrl, key, within, without] = process.argv.slice(2);
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
seen.statuses = statuses;
console.log(JSON.stringify(seen));
await Server.close();
await Web.close();
