#!/usr/bin/env python3
"""Counts what one request costs: instructions and allocations, by callgrind, without the kernel.

Each case sends N requests on one connection and then 2N in the same time; what the second did more, over N, is a request. So
what is done once falls out, and what is done at most so often a second, such as to ask who calls. Of tRPC's requests it is
what the tasks of connections do; of a model's answer it is all that the process does, as others work for it as well.

Usage: benches/per_request.py [PROGRAM] [N]     N is 300 unless said
       PROFILE=folder keeps what callgrind wrote there, for callgrind_annotate: CASE.out is of the 2N requests
       CALLGRIND=options gives callgrind more of them, such as --separate-callers20=mi_malloc_aligned: who allocates
Without PROGRAM it builds a release without link-time optimisation, whose functions keep their names. Needs valgrind.
"""

import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ["cargo", "build", "--locked", "--quiet", "--release", "--bin", "modelramp", "--config", 'profile.release.lto="off"',
         "--config", "profile.release.codegen-units=16", "--config", 'profile.release.strip="none"']
ANSWER = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1764500000, "model": "mock",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Twenty words. " * 8}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 25, "completion_tokens": 20, "total_tokens": 45}}).encode()
CATALOG = """
[providers.up]
base_url = "http://127.0.0.1:%d/v1"
[models.mock]
provider = "up"
id = "mock"
context = 200000
[tasks.chat]
candidate = ["mock"]
control = ["mock"]
"""
# What Rust code calls of the allocator, and nothing that the allocator calls of itself.
ALLOCATES = re.compile(r"mi_(malloc|zalloc|calloc)(_aligned)?$")
GROWS = re.compile(r"mi_realloc(_aligned)?$")
# Runs each connection.
CONNECTION = "modelramp::_core::rounds::straight::{{closure}}"
# Who calls is asked at most once in so many seconds.
ASKS_EVERY = 0.2
# So much longer than they take are requests given, so that the machine may have other work.
SPARE = 1.5


class Upstream(http.server.BaseHTTPRequestHandler):
    """A model's server that answers the same bytes to everybody."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_):
        pass


def calls(profile):
    """Instructions, allocations, and allocations that grow, in a file of callgrind's."""
    names, instructions, made, grown, caller, callee = {}, 0, 0, 0, "", ""
    for line in profile.read_text(errors="replace").splitlines():
        if line.startswith("summary:"):
            instructions = int(line.split()[1])
        elif line.startswith("cfn=") or line.startswith("fn="):
            number, _, name = line.split("=", 1)[1].partition(" ")
            name = names.setdefault(number, name.split("'")[0]) if name else names[number]
            if line.startswith("cfn="):
                callee = name
            else:
                caller = name
        elif line.startswith("calls=") and not caller.startswith(("mi_", "_mi_")):
            count = int(line[len("calls="):].split()[0])
            made += count if ALLOCATES.match(callee) else 0
            grown += count if GROWS.match(callee) else 0
    return instructions, made, grown


class Server:
    """The program under callgrind, which counts from one word to it to the next."""

    def __init__(self, program, folder, upstream, inside):
        self.folder, self.parts = folder, 0
        catalog = folder / "catalog.toml"
        catalog.write_text(CATALOG % upstream)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # With what the program sets for its allocator, so that it does not begin anew.
        env = {**os.environ, "APP_ENV": "test", "DATABASE_URL": f"sqlite://{folder}/count.db", "PORT": str(self.port),
               "MODEL_CATALOGUE": str(catalog), "MODEL_ROUTING": "true", "MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_ALLOW_THP": "0"}
        last = lambda *words: subprocess.run([program, *words], env=env, check=True, capture_output=True, text=True).stdout.split()[-1]
        self.token = last("token", "--user", "1", "--role", "admin", "--create")
        self.key = last("key", "create", "--name", "count")
        self.log = open(folder / "server.log", "w")
        more = os.environ.get("CALLGRIND", "").split()
        if inside:
            more.append(f"--toggle-collect={inside}")
        self.process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out", *more, program, "serve"],
            env=env, stdout=self.log, stderr=self.log)
        for _ in range(600):
            try:
                self.ask("GET", "/readyz", None, None)
                break
            except (OSError, RuntimeError):
                time.sleep(0.2)
        else:
            sys.exit(f"it did not start:\n{(folder / 'server.log').read_text()[-2000:]}")

    def ask(self, method, path, body, credential, times=1, seconds=0):
        """Sends so many requests, spread over these seconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"authorization": f"Bearer {credential}"} if credential else {}
        if body:
            headers["content-type"] = "application/json"
        began = time.monotonic()
        for number in range(times):
            time.sleep(max(0, began + seconds * number / times - time.monotonic()))
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
            except http.client.RemoteDisconnected:
                # The server closes what rests for long, as under callgrind between two requests.
                connection.request(method, path, body, headers)
                response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise RuntimeError(f"{method} {path}: {response.status} {text[:200]}")
        time.sleep(max(0, began + seconds - time.monotonic()))
        connection.close()

    def say(self, word):
        subprocess.run(["vgdb", f"--pid={self.process.pid}", *word.split()], check=True, capture_output=True)

    def count(self, case, times, seconds, kept=None):
        """What the server did while it was asked so often, in these seconds."""
        self.say("zero")
        self.ask(*case, times=times, seconds=seconds)
        self.say("dump")
        self.parts += 1
        part = self.folder / f"out.{self.parts}"
        if kept:
            pathlib.Path(kept).write_bytes(part.read_bytes())
        return calls(part)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def main():
    words = sys.argv[1:]
    requests = int(words.pop()) if words and words[-1].isdigit() else 300
    program = words[0] if words else str(ROOT / "target/release/modelramp")
    if not words:
        subprocess.run(BUILD, cwd=ROOT, check=True)
    profiles = os.environ.get("PROFILE")
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    upstream.daemon_threads = True
    threading.Thread(target=upstream.serve_forever, daemon=True).start()

    summary = "/api/trpc/aiMetrics.getSummary"
    lasts = "?input=%7B%22json%22%3A%7B%22lastMinutes%22%3A60%7D%7D"
    ten = f"{summary}{',aiMetrics.getSummary' * 9}?batch=1&input=%7B%7D"
    chat = json.dumps({"model": "task/chat", "messages": [{"role": "user", "content": "a" * 50}]})
    print("| a request | instructions | allocations | that grow |\n|---|---|---|---|")
    for inside, cases in [
        (CONNECTION, [("query", "/api/trpc/auth.me", None), ("summary", summary + lasts, None), ("batch-of-ten", ten, None)]),
        (None, [("whole-answer", "/v1/chat/completions", chat)]),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(os.path.abspath(program), pathlib.Path(folder), upstream.server_address[1], inside)
            try:
                server.say("instrumentation on")
                for name, path, body in cases:
                    case = ("POST" if body else "GET", path, body, server.key if body else server.token)
                    server.ask(*case, times=20)
                    began = time.monotonic()
                    server.ask(*case, times=20)
                    seconds = 2 * requests * (time.monotonic() - began) / 20 * SPARE
                    if seconds / requests > ASKS_EVERY:
                        print(f"{name}: so slow that each request asks the database who calls", file=sys.stderr)
                    once = server.count(case, requests, seconds)
                    twice = server.count(case, 2 * requests, seconds, profiles and f"{profiles}/{name}.out")
                    each = [(more - less) / requests for less, more in zip(once, twice)]
                    print(f"| {name} | {each[0]:,.0f} | {each[1]:,.1f} | {each[2]:,.1f} |", flush=True)
            finally:
                server.stop()


main()
