// Usage: node page.mjs URL TOKEN
//
// The documentation page in Chromium, as a person uses it: a query, a wrong input, a mutation that is
// cancelled and one that is not, a subscription, the filter, a phone. Nothing comes from elsewhere, the
// content security policy is never touched, and the session is not in the page.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, token] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let passed = 0;
const done = (what) => {
  passed += 1;
  console.log(`ok   ${what}`);
};

try {
  const anonymous = await browser.newPage();
  const refused = await anonymous.goto(`${url}/api/docs`);
  assert.equal(refused.status(), 401);
  assert.match(await anonymous.textContent("main"), /Sign in/);
  done("without a session it says how to sign in");

  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  await context.addCookies([{ name: "app_session_id", value: token, url }]);
  await context.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
  });
  const page = await context.newPage();
  const asked = [];
  const problems = [];
  page.on("request", (request) => asked.push(`${request.method()} ${request.url()}`));
  page.on("pageerror", (error) => problems.push(error.message));
  const response = await page.goto(`${url}/api/docs`);
  assert.equal(response.status(), 200);
  assert.ok(!(await response.text()).includes(token));
  const policy = response.headers()["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);

  const of = (path) => page.locator(`article[data-path="${path}"]`);
  const answer = async (path, pattern) => {
    const shown = of(path).locator(".answer").filter({ hasText: pattern });
    await shown.waitFor();
    return shown.textContent();
  };

  const models = of("models.explain");
  await models.locator("textarea").fill('{"task": "chat"}');
  await models.getByRole("button", { name: "Ask" }).click();
  assert.equal(JSON.parse(await answer("models.explain", /"task"/)).task, "chat");
  assert.match(await models.locator(".state").textContent(), /^200 in \d+ ms$/);
  const curl = await models.locator(".curl code").textContent();
  assert.ok(curl.includes("Bearer $TOKEN") && curl.includes("/api/trpc/models.explain?input="), curl);
  done("a form calls the procedure, shows the answer, and has the curl beside it");

  await of("aiMetrics.getSummary").locator("textarea").fill('{"lastMinutes": "five"}');
  await of("aiMetrics.getSummary").getByRole("button", { name: "Ask" }).click();
  const fault = await answer("aiMetrics.getSummary", /BAD_REQUEST/);
  assert.match(fault, /lastMinutes: .*expected number/);
  await of("aiMetrics.getSummary").locator("textarea").fill("{");
  await of("aiMetrics.getSummary").getByRole("button", { name: "Ask" }).click();
  await answer("aiMetrics.getSummary", /not JSON/);
  done("a wrong input shows what is wrong with it");

  const posts = () => asked.filter((request) => request.startsWith("POST")).length;
  const create = of("chat.createConversation");
  await create.locator("textarea").fill('{"title": "it\'s <b>mine</b>"}');
  assert.ok((await create.locator(".curl code").textContent()).includes("it'\\''s"));
  await create.getByRole("button", { name: "Call…" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal(posts(), 0);
  await create.getByRole("button", { name: "Call…" }).click();
  await page.getByRole("button", { name: "Call it" }).click();
  assert.equal(JSON.parse(await answer("chat.createConversation", /"title"/)).title, "it's <b>mine</b>");
  assert.equal(posts(), 1);
  done("a mutation asks first, and a no is a no");

  const summary = of("aiMetrics.onSummary");
  await summary.getByRole("button", { name: "Listen" }).click();
  await answer("aiMetrics.onSummary", /totalRequests/);
  await summary.getByRole("button", { name: "Stop" }).click();
  assert.equal(await summary.locator(".state").textContent(), "stopped");
  done("a subscription can be listened to and stopped");

  await page.keyboard.press("Escape");
  await page.locator("h1").click();
  await page.keyboard.press("/");
  await page.keyboard.type("conversation delete");
  assert.deepEqual(await page.locator("article:visible").evaluateAll((all) => all.map((one) => one.id)), [
    "chat.deleteConversation",
  ]);
  await page.keyboard.press("Escape");
  assert.ok((await page.locator("article:visible").count()) > 20);
  done("the filter finds a procedure by its words, from the keyboard");

  await page.setViewportSize({ width: 390, height: 844 });
  const [width, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= inner, `${width} of ${inner} pixels`);
  done("a phone shows it without scrolling sideways");

  const broken = await page.evaluate(() => {
    const links = [...document.querySelectorAll('a[href^="#"]')];
    return links.map((link) => link.hash.slice(1)).filter((id) => !document.getElementById(id));
  });
  assert.deepEqual(broken, []);
  done("every link within it leads somewhere");

  assert.deepEqual(await page.evaluate(() => window.violations), []);
  assert.deepEqual(problems, []);
  assert.deepEqual(asked.filter((request) => !request.split(" ")[1].startsWith(url)), []);
  done("the policy is never touched, and nothing is asked elsewhere");
  console.log(`${passed} passed, 0 failed`);
} finally {
  await browser.close();
}
