"use strict";
const app = document.getElementById("app");
const superjson = app.dataset.superjson === "true";
const mount = "/api/trpc/";
const shown = 50;

/** The input of a form: absent, or a value; throws where it is not JSON. */
function inputOf(form) {
  const field = form.elements.input;
  const text = field ? field.value.trim() : "";
  return text === "" ? undefined : JSON.parse(text);
}

/** As the wire wants it: in superjson's envelope where the server speaks it. */
function wire(value) {
  return JSON.stringify(superjson ? { json: value } : value);
}

function unwrap(value) {
  return superjson && value && typeof value === "object" ? value.json : value;
}

function target(article, value) {
  const query = article.dataset.kind === "mutation" || value === undefined;
  return mount + article.dataset.path + (query ? "" : "?input=" + encodeURIComponent(wire(value)));
}

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

function curl(article) {
  const form = article.querySelector("form");
  const code = form.querySelector(".curl code");
  let value;
  try {
    value = inputOf(form);
  } catch {
    code.textContent = "# the input is not JSON";
    return;
  }
  const parts = ["curl"];
  if (article.dataset.kind === "subscription") parts.push("-N");
  parts.push('-H "Authorization: Bearer $TOKEN"');
  if (article.dataset.kind === "mutation") {
    if (value === undefined) parts.push("-X POST");
    else parts.push("-H 'Content-Type: application/json'", "-d " + quoted(wire(value)));
  }
  parts.push(quoted(location.origin + target(article, value)));
  code.textContent = parts.join(" \\\n  ");
}

function show(form, state, text, bad) {
  form.querySelector(".state").textContent = state;
  const answer = form.querySelector(".answer");
  answer.hidden = text === null;
  answer.classList.toggle("bad", bad);
  answer.textContent = text ?? "";
}

const pretty = (value) => (value === undefined ? "undefined" : JSON.stringify(value, null, 2));

/** An error in words: its code, its text or the list of faults, its details. */
function showError(form, state, error) {
  show(form, state, "", true);
  const answer = form.querySelector(".answer");
  const code = document.createElement("span");
  code.className = "code";
  code.textContent = error.data?.code ?? "ERROR";
  let text = error.message;
  try {
    const issues = JSON.parse(error.message);
    if (Array.isArray(issues)) {
      text = issues.map((issue) => "• " + [issue.path.join("."), issue.message].filter(Boolean).join(": ")).join("\n");
    }
  } catch {
    // A text for people.
  }
  answer.append(code, "\n" + text);
  if (error.data?.retryAfter) answer.append("\nTry again at " + error.data.retryAfter);
  if (error.data?.details !== undefined) answer.append("\n\ndetails: " + pretty(error.data.details));
  if (error.data?.requestId) answer.append("\n\nrequest " + error.data.requestId);
}

async function call(article, form, value) {
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  show(form, "…", null, false);
  const began = performance.now();
  try {
    const options = { headers: { accept: "application/json" } };
    if (article.dataset.kind === "mutation") {
      options.method = "POST";
      if (value !== undefined) {
        options.headers["content-type"] = "application/json";
        options.body = wire(value);
      }
    }
    const response = await fetch(target(article, value), options);
    const body = await response.json();
    const state = `${response.status} in ${Math.round(performance.now() - began)} ms`;
    if (body.error) showError(form, state, unwrap(body.error));
    else show(form, state, pretty(unwrap(body.result.data)), false);
  } catch (error) {
    show(form, "no answer", String(error.message ?? error), true);
  } finally {
    button.disabled = false;
  }
}

function listen(article, form, value) {
  const [start, stop] = [form.querySelector("[type=submit]"), form.querySelector(".stop")];
  const source = new EventSource(target(article, value));
  const events = [];
  const end = (state) => {
    source.close();
    start.disabled = false;
    stop.hidden = true;
    form.querySelector(".state").textContent = state;
  };
  start.disabled = true;
  stop.hidden = false;
  stop.onclick = () => end("stopped");
  show(form, "connecting…", null, false);
  source.addEventListener("connected", () => (form.querySelector(".state").textContent = "listening"));
  source.addEventListener("return", () => end("ended"));
  source.addEventListener("serialized-error", (event) => {
    end("");
    showError(form, "failed", unwrap(JSON.parse(event.data)));
  });
  source.onmessage = (event) => {
    events.unshift(pretty(unwrap(JSON.parse(event.data))));
    events.length = Math.min(events.length, shown);
    show(form, "listening", events.join("\n\n"), false);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) end("refused");
  };
}

/** Resolves to whether the person wants it. */
function sure(path) {
  const dialog = document.getElementById("sure");
  document.getElementById("sure-path").textContent = path;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

for (const article of document.querySelectorAll("article")) {
  const form = article.querySelector("form");
  if (!form) continue;
  curl(article);
  form.addEventListener("input", () => curl(article));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let value;
    try {
      value = inputOf(form);
    } catch (error) {
      show(form, "not sent", "The input is not JSON: " + error.message, true);
      return;
    }
    if (article.dataset.kind === "subscription") listen(article, form, value);
    else if (article.dataset.kind === "query" || (await sure(article.dataset.path))) await call(article, form, value);
  });
  form.querySelector(".copy").addEventListener("click", async (event) => {
    const code = form.querySelector(".curl code");
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  for (const article of document.querySelectorAll("article")) {
    const parts = [...article.querySelectorAll("h3, h3 ~ p")].map((part) => part.textContent);
    const text = [article.dataset.path, ...parts].join(" ").toLowerCase();
    article.hidden = !words.every((word) => text.includes(word));
    document.querySelector(`li[data-of="${CSS.escape(article.dataset.path)}"]`).hidden = article.hidden;
    any ||= !article.hidden;
  }
  document.getElementById("nothing").hidden = any;
});
addEventListener("keydown", (event) => {
  const writes = event.target.closest("input, textarea");
  if (event.key === "/" && !writes) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "Escape" && event.target === filter) {
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
    filter.blur();
  }
});
