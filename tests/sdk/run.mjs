// The official SDKs against the gateway: `node run.mjs BASE_URL TOKEN`, where model `a` answers "Hello" in
// chunks of two letters, calls the tool `f` where one is offered, breaks off where the text says `cut`, calls it twice at
// once for `two`, thinks first for `think`, refuses our key for `key`, and has vectors.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [base, apiKey] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const cut = [{ role: "user", content: "cut" }];
const parameters = { type: "object", properties: {} };
const model = "task/chat";

const checks = {
  "a chat completion": async () => {
    const answer = await openai.chat.completions.create({ model, messages });
    assert.equal(answer.choices[0].message.content, "Hello");
    assert.equal(answer.usage.total_tokens, 5);
  },
  "a stream of one": async () => {
    const stream = openai.chat.completions.stream({ model, messages });
    const answer = await stream.finalChatCompletion();
    assert.equal(answer.choices[0].message.content, "Hello");
  },
  "a call of a tool": async () => {
    const tools = [{ type: "function", function: { name: "f", parameters } }];
    const stream = openai.chat.completions.stream({ model, messages, tools });
    const [call] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
    assert.deepEqual([call.id, call.function.name, call.function.arguments], ["c1", "f", '{"x":1}']);
  },
  "a stream that breaks off": async () => {
    const stream = await openai.chat.completions.create({ model, messages: cut, stream: true });
    let text = "";
    await assert.rejects(async () => {
      for await (const chunk of stream) text += chunk.choices[0].delta.content ?? "";
    }, OpenAI.APIError);
    assert.equal(text, "He");
  },
  "a response": async () => {
    const answer = await openai.responses.create({ model, input: "hi" });
    assert.equal(answer.output_text, "Hello");
  },
  "a stream of one response": async () => {
    const tools = [{ type: "function", name: "f", parameters, strict: false }];
    const answer = await openai.responses.stream({ model, input: "hi", tools }).finalResponse();
    assert.deepEqual([answer.output[0].call_id, answer.output[0].arguments], ["c1", '{"x":1}']);
  },
  "two calls at once, whose fragments name no place": async () => {
    const tools = [{ type: "function", function: { name: "f", parameters } }];
    const asked = { model, messages: [{ role: "user", content: "two" }], tools };
    const answer = await openai.chat.completions.stream(asked).finalChatCompletion();
    const calls = answer.choices[0].message.tool_calls.map((it) => [it.id, it.function.arguments]);
    assert.deepEqual(calls, [["c1", '{"x":1}'], ["c2", '{"x":2}']]);
  },
  "usage comes once, last, where it is asked for": async () => {
    const asked = { model, messages, stream: true };
    const read = async (more) => {
      const chunks = [];
      for await (const chunk of await openai.chat.completions.create({ ...asked, ...more })) chunks.push(chunk);
      return chunks;
    };
    assert((await read({})).every((it) => !it.usage && it.choices.length));
    const chunks = await read({ stream_options: { include_usage: true } });
    assert.equal(chunks.filter((it) => it.usage).length, 1);
    assert.deepEqual([chunks.at(-1).choices, chunks.at(-1).usage.total_tokens], [[], 5]);
  },
  "what a model thought is kept": async () => {
    const asked = { model, messages: [{ role: "user", content: "think" }] };
    const answer = await openai.chat.completions.create(asked);
    assert.equal(answer.choices[0].message.reasoning_content, "First");
    const message = await anthropic.messages.create({ ...asked, max_tokens: 9 });
    assert.deepEqual(message.content.map((it) => it.type), ["thinking", "text"]);
  },
  "vectors are what the model's server sent as numbers": async () => {
    const { data } = await openai.embeddings.create({ model, input: ["a", "b"] });
    assert.deepEqual(data.map((it) => it.embedding), [[0.5, -1], [2, 0.25]]);
  },
  "nobody repeats what this gateway's key is refused for": async () => {
    const asked = { model, messages: [{ role: "user", content: "key" }] };
    const patient = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 3 });
    await assert.rejects(patient.chat.completions.create(asked), (error) => {
      assert.deepEqual([error.status, error.code], [400, "upstream_auth"]);
      assert.equal(error.headers.get("x-should-retry"), "false");
      return true;
    });
  },
  models: async () => {
    const ids = [];
    for await (const one of openai.models.list()) ids.push(one.id);
    assert.deepEqual(ids, ["task/chat", "a", "b"]);
    assert.equal((await openai.models.retrieve(model)).id, model);
  },
  errors: async () => {
    const none = openai.chat.completions.create({ model: "none", messages });
    await assert.rejects(none, OpenAI.NotFoundError);
    const stranger = new OpenAI({ baseURL: `${base}/v1`, apiKey: "wrong", maxRetries: 3 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  },
  "a message": async () => {
    const answer = await anthropic.messages.create({ model, messages, max_tokens: 9 });
    assert.deepEqual([answer.content[0].text, answer.stop_reason], ["Hello", "end_turn"]);
  },
  "a stream of one message": async () => {
    const tools = [{ name: "f", input_schema: parameters }];
    const stream = anthropic.messages.stream({ model, messages, tools, max_tokens: 9 });
    const answer = await stream.finalMessage();
    assert.deepEqual([answer.content[0].input, answer.stop_reason], [{ x: 1 }, "tool_use"]);
  },
  "a message that breaks off": async () => {
    const stream = anthropic.messages.stream({ model, messages: cut, max_tokens: 9 });
    await assert.rejects(stream.finalMessage(), Anthropic.APIError);
  },
  "tokens are counted": async () => {
    assert((await anthropic.messages.countTokens({ model, messages })).input_tokens > 0);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.stack}`);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
