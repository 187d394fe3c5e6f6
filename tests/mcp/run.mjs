// node run.mjs BASE_URL USER_TOKEN ADMIN_TOKEN: the official client before a server whose tools only read.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [base, user, admin] = process.argv.slice(2);
let checks = 0;

async function connect(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const transport = new StreamableHTTPClientTransport(new URL("/mcp", base), { requestInit: { headers } });
  const client = new Client({ name: "test", version: "1" });
  await client.connect(transport);
  return client;
}

async function check(name, run) {
  try {
    await run();
    checks += 1;
  } catch (error) {
    console.error(`FAILED: ${name}`);
    throw error;
  }
}

const names = async (client) => (await client.listTools()).tools.map((tool) => tool.name);
const text = (result) => result.content[0].text;

const [nobody, someone, boss] = await Promise.all([connect(), connect(user), connect(admin)]);
await check("the server says what it is", () => {
  assert.equal(boss.getServerVersion().name, "modelramp");
  assert.ok(boss.getInstructions().includes("procedures"));
});
await check("ping", () => boss.ping());
await check("everybody sees what they may call, and nothing that changes something", async () => {
  const [theirs, ours, all] = [await names(nobody), await names(someone), await names(boss)];
  assert.ok(ours.includes("chat_getConversations") && !theirs.includes("chat_getConversations"));
  assert.ok(all.includes("rollout_list") && !ours.includes("rollout_list"));
  for (const name of ["chat_sendMessage", "rollout_rollback", "featureFlags_kill", "auth_logout"]) {
    assert.ok(!all.includes(name), name);
  }
  const { tools } = await boss.listTools();
  for (const tool of tools) {
    assert.match(tool.name, /^[a-zA-Z0-9_-]{1,64}$/);
    assert.equal(tool.inputSchema.type, "object");
    assert.equal(tool.annotations.readOnlyHint, true);
    assert.ok(tool.description.length > 10, tool.name);
  }
});
await check("a tool without input", async () => {
  const result = await someone.callTool({ name: "featureFlags_mine", arguments: {} }).catch((error) => error);
  const found = result instanceof Error ? await someone.callTool({ name: "models_list" }) : result;
  assert.ok(!found.isError, text(found));
  JSON.parse(text(found));
});
await check("a tool with input", async () => {
  const result = await someone.callTool({ name: "aiMetrics_getSummary", arguments: { lastMinutes: 60 } });
  assert.ok(!result.isError, text(result));
  assert.equal(typeof JSON.parse(text(result)), "object");
});
await check("a faulty input is told in words", async () => {
  const result = await someone.callTool({ name: "chat_getMessages", arguments: { conversationId: "x" } });
  assert.equal(result.isError, true);
  assert.ok(text(result).includes("conversationId"), text(result));
});
await check("what a user may not is refused, whatever the name", async () => {
  const result = await someone.callTool({ name: "rollout_list", arguments: {} });
  assert.equal(result.isError, true);
  assert.ok(text(result).includes("10002"), text(result));
  await assert.rejects(boss.callTool({ name: "rollout_rollback", arguments: { id: "x" } }), /no tool/);
});
await Promise.all([nobody, someone, boss].map((client) => client.close()));
console.log(`${checks} checks passed`);
