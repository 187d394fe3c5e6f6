// Two clients from npm against a running server: node clients.mjs host:port token
import assert from "node:assert/strict";
import { JSONRPCClient } from "json-rpc-2.0";
import { Client } from "rpc-websockets";

const [address, token] = process.argv.slice(2);
const authorization = `Bearer ${token}`;

// json-rpc-2.0 over HTTP.
const http = new JSONRPCClient(async (payload) => {
  const response = await fetch(`http://${address}/rpc`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization },
    body: JSON.stringify(payload),
  });
  if (response.status === 204) {
    assert.equal(await response.text(), "");
    return;
  }
  assert.equal(response.status, 200);
  http.receive(await response.json());
});
assert.equal((await http.request("stub.echo", { text: "hi" })).text, "hi");
assert.equal(await http.request("stub.sum", [[1, 2]]), 3);
assert.equal(await http.request("stub.whoAmI"), "bo user");
await assert.rejects(http.request("stub.secret"), (error) => {
  assert.equal(error.code, -32003);
  assert.equal(error.data.code, "FORBIDDEN");
  assert.equal(error.data.path, "stub.secret");
  return true;
});
await http.notify("stub.count");
const batch = await http.requestAdvanced([
  { jsonrpc: "2.0", id: "a", method: "stub.nothing" },
  { jsonrpc: "2.0", id: "b", method: "stub.nowhere" },
]);
assert.deepEqual(batch.map(({ id, result, error }) => [id, result, error?.code]), [
  ["a", "nothing", undefined],
  ["b", undefined, -32601],
]);

// rpc-websockets over a socket.
const socket = new Client(`ws://${address}/rpc`, { reconnect: false, headers: { authorization } });
await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
assert.equal((await socket.call("stub.echo", { text: "hi" })).text, "hi");
assert.equal(await socket.call("stub.whoAmI"), "bo user");
await assert.rejects(socket.call("stub.echo", { text: 7 }), { code: -32602 });
await socket.notify("stub.count");
const event = new Promise((resolve) => socket.once("stub.onLive", resolve));
const subscription = await socket.call("stub.onLive");
assert.deepEqual(await event, { subscription, result: 0 });
assert.equal(await socket.call("stub.onLive.unsubscribe", [subscription]), true);
socket.close();
console.log("ok");
