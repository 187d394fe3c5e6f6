// The real superjson, asked by tests/integration/superjson.rs.
//
//   node judge.mjs read  < [envelope, …]   each read and written again: {"again": envelope} or {"throws": text}
//   node judge.mjs write                   values that JSON cannot hold: {name, envelope, plain}, where
//                                          `plain` is what is left of the value without its types
import { readFileSync } from "node:fs";
import superjson from "superjson";

function again(envelope) {
  try {
    return { again: superjson.serialize(superjson.deserialize(envelope)) };
  } catch (error) {
    return { throws: String(error.message ?? error) };
  }
}

const at = new Date("2026-01-02T03:04:05.678Z");
const text = at.toISOString();
const shared = { x: 1 };
const cyclic = { n: 1 };
cyclic.self = cyclic;

const values = [
  ["undefined", undefined, { absent: true }],
  ["null", null, null],
  ["date", at, text],
  ["fields", { at, list: [at, { at }], n: 10n }, { at: text, list: [text, { at: text }], n: "10" }],
  ["undefined fields", { a: undefined, b: { c: undefined, d: 1 } }, { b: { d: 1 } }],
  ["undefined items", [undefined, 1], [null, 1]],
  ["numbers", [NaN, Infinity, -Infinity, -0, 0.5], ["NaN", "Infinity", "-Infinity", -0.0, 0.5]],
  ["map", new Map([["a", at], ["b", 1]]), [["a", text], ["b", 1]]],
  ["map of maps", new Map([[at, new Map([[1n, new Set([at])]])]]), [[text, [["1", [text]]]]]],
  ["set", { s: new Set([1, at]) }, { s: [1, text] }],
  ["undefined in a set", new Set([undefined, 1]), [null, 1]],
  ["undefined in a map", new Map([["a", { b: undefined }]]), [["a", {}]]],
  ["invalid date", { d: new Date(NaN) }, { d: null }],
  ["regexp, URL", { r: /a/gi, u: new URL("http://x/") }, { r: "/a/gi", u: "http://x/" }],
  ["error", { e: new TypeError("m") }, { e: { name: "TypeError", message: "m" } }],
  ["bytes", { b: new Uint8Array([1, 2]) }, { b: [1, 2] }],
  ["keys that need escapes", { "a.b": at, "c\\": { ".": at }, "": at, "\\.": undefined }, { "a.b": text, "c\\": { ".": text }, "": text }],
  ["the same object twice", { a: shared, b: shared }, { a: { x: 1 }, b: { x: 1 } }],
  ["a cycle", cyclic, { n: 1, self: null }],
];

if (process.argv[2] === "write") {
  const written = values.map(([name, value, plain]) => ({ name, envelope: superjson.serialize(value), plain }));
  // JSON.stringify would lose the sign of zero.
  process.stdout.write(JSON.stringify(written, (_, v) => (Object.is(v, -0) ? "MINUS ZERO" : v)).replaceAll('"MINUS ZERO"', "-0.0"));
} else {
  process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(again)));
}
