#!/usr/bin/env python3
"""Prints each alert that modelramp's webhook sends, one a line, if its signature is right.

Usage: ALERT_WEBHOOK_SECRET=… python3 examples/alert-receiver.py 127.0.0.1:5001

For trying alerts out, on loopback. docs/alerts.md says what the signature covers.
"""

import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["ALERT_WEBHOOK_SECRET"].encode()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        sent = self.headers.get("x-modelramp-timestamp", "0")
        signature = self.headers.get("x-modelramp-signature", "")
        right = "v1=" + hmac.new(SECRET, sent.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, right) or abs(time.time() - int(sent)) > 300:
            self.send_response(401)
            self.end_headers()
            return
        alert = json.loads(body)
        print(alert["severity"], alert["kind"], "-", alert["title"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


host, port = sys.argv[1].rsplit(":", 1)
HTTPServer((host, int(port)), Receiver).serve_forever()
