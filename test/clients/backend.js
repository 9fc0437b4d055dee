// A handler: a backend that is told what clients do, and answers as a test wants.
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { start } from './server.js';
import { Inbox } from './wait.js';

// backend starts one. answer takes a call and the response, and returns what is to be
// answered; when it returns nothing, it has answered itself, or never will.
export async function backend(answer = () => ({}), port = 0) {
  const calls = [];
  const inbox = new Inbox();
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const call = JSON.parse(body);
    call.headers_ = request.headers;
    call.raw_ = body;
    calls.push(call);
    inbox.put(call);
    const said = await answer(call, response);
    if (said === undefined) return;
    response.setHeader('content-type', 'application/json');
    response.end(typeof said === 'string' ? said : JSON.stringify(said));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    calls,
    // of are the calls of a type.
    of: (type) => calls.filter((c) => c.type === `dev.klaxon.client.${type}`),
    // next waits for the next call of a type.
    async next(type) {
      for (;;) {
        const call = await inbox.next(`the call ${type}`);
        if (call.type === `dev.klaxon.client.${type}`) return call;
      }
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

// serveWith serves manifests that are given as text.
export async function serveWith(manifests) {
  const folder = await mkdtemp(join(tmpdir(), 'klaxon-'));
  await writeFile(join(folder, 'all.yaml'), manifests);
  const server = await start({ folder });
  return { ...server, async stop() { await server.stop(); await rm(folder, { recursive: true }); } };
}

// channel is the manifest of one whose handler listens on a port.
export const channel = (name, port, { events = ['connect', 'disconnect', '*'], spec = '', handler = '' } = {}) => `
apiVersion: push.klaxon.dev/v1alpha1
kind: Channel
metadata: {name: ${name}}
spec:
  clients: {anonymous: true, allowedOrigins: ["*"]}
  handlers:
  - events: ${JSON.stringify(events)}
    service: {name: backend, port: ${port}}
    ${handler}
  ${spec}
---`;
