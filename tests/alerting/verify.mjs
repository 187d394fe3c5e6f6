import { createHmac, timingSafeEqual } from "node:crypto";

// `body` is the text of the request as it came, not parsed and written again.
export function verify(secret, headers, body, now = Date.now() / 1000) {
  const timestamp = headers["x-modelramp-timestamp"] ?? "";
  if (!(Math.abs(now - Number(timestamp)) <= 300)) return false;
  const digest = createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex");
  const expected = Buffer.from(`v1=${digest}`);
  const given = Buffer.from(headers["x-modelramp-signature"] ?? "");
  return given.length === expected.length && timingSafeEqual(given, expected);
}
