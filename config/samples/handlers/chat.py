# Copyright The Klaxon Authors.
# SPDX-License-Identifier: Apache-2.0

"""The backend of a chat with a typing indicator. With SIGNING_KEY, only signed calls count."""
import base64
import hashlib
import hmac
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.get("SIGNING_KEY", "").removeprefix("whsec_")


def signed(headers, body):
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    ours = base64.b64encode(hmac.digest(base64.b64decode(KEY), said, hashlib.sha256)).decode()
    return any(hmac.compare_digest("v1," + ours, s) for s in headers.get("webhook-signature", "").split())


def reply(call):
    user, event = call.get("user"), call.get("event")
    if call["type"].endswith(".connected"):
        name = call["query"].get("name", ["somebody"])[0]
        return {"user": name, "emit": [{"event": "joined", "args": [name], "to": "others"}]}
    if call["type"].endswith(".disconnected"):
        return {"emit": [{"event": "left", "args": [user], "to": "others"}]}
    if event == "chat message":
        return {"ack": ["delivered"], "emit": [{"event": event, "args": [user, *call["args"]], "to": "all"}]}
    if event in ("typing", "stop typing"):
        return {"emit": [{"event": event, "args": [user], "to": "others"}]}
    return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        trusted = not KEY or signed(self.headers, body)
        answer = json.dumps(reply(json.loads(body))).encode() if trusted else b""
        self.send_response(200 if trusted else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
