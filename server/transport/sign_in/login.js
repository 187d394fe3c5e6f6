
"use strict";
(() => {
  const say = (text) => { document.getElementById("say").textContent = text; };
  const go = document.getElementById("go");
  const secret = new URLSearchParams(location.hash.slice(1)).get("t");
  const next = new URLSearchParams(location.search).get("next");
  // Out of the address bar and the history; from here on the secret is known to this script alone.
  history.replaceState(null, "", location.pathname + location.search);
  // A path of this server and nothing else: not another site, nor a script.
  const path = (text) => {
    try {
      const url = new URL(text, location.origin);
      return url.origin === location.origin && text.startsWith("/") ? url.pathname + url.search + url.hash : null;
    } catch { return null; }
  };
  const signIn = async () => {
    go.hidden = true;
    say("Signing in…");
    let answer, body;
    try {
      answer = await fetch("api/auth/login", {
        method: "POST",
        credentials: "same-origin",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token: secret }),
      });
      body = await answer.json();
    } catch {
      say("The server cannot be reached.");
      go.textContent = "Try again";
      go.hidden = false;
      return;
    }
    if (!answer.ok) {
      say(body.error);
      go.textContent = "Try again";
      go.hidden = answer.status !== 429 && answer.status < 500;
      return;
    }
    // Whoever may look at rollouts came to do so.
    const home = body.user.role === "user" ? null : "dashboard/";
    const target = next === null ? home : path(next);
    if (target !== null) {
      location.replace(target);
      return;
    }
    say(`You are signed in as ${body.user.name ?? `user ${body.user.id}`} (${body.user.role}).`);
    document.getElementById("next").hidden = false;
  };
  go.addEventListener("click", signIn);
  // Only the button spends the link: what opens pages by itself, to preview or to check them, does not.
  if (secret) {
    say("This link signs you in, once.");
    go.hidden = false;
    go.focus();
  } else {
    say("This page signs in by a link. Ask for one: modelramp token --login-link --user 1");
  }
  const service = document.getElementById("service");
  if (next !== null && path(next) !== null) service.href += `?next=${encodeURIComponent(path(next))}`;
})();
