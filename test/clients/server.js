// Starts the product as `make run` does, on free ports, and says where it listens.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const here = (p) => fileURLToPath(new URL(p, import.meta.url));

export async function start() {
  const free = '127.0.0.1:0';
  const child = spawn(here('../../bin/klaxon'),
    ['serve', '-f', here('manifests'), '--clients-addr', free, '--events-addr', free, '--admin-addr', free],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (b) => { text += b; });
  const wanted = { clients: /ws:\/\/([\d.:]+)\/ws\/public/, events: /http:\/\/([\d.:]+)\/v1\/channels\/public/ };
  const found = () => Object.fromEntries(Object.entries(wanted).map(([k, re]) => [k, re.exec(text)?.[1]]));
  while (!found().clients || !found().events) {
    const ended = once(child, 'exit').then(([code]) => { throw new Error(`klaxon serve ended with ${code}: ${text}`); });
    await Promise.race([once(child.stdout, 'data'), ended]);
  }
  const at = found();
  return {
    ws: (path) => `ws://${at.clients}/ws/${path}`,
    http: `http://${at.clients}/`,
    async publish(channel, event) {
      const r = await fetch(`http://${at.events}/v1/channels/${channel}/events`,
        { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(event) });
      if (!r.ok) throw new Error(`publish: ${r.status} ${await r.text()}`);
      return r.json();
    },
    async stop() {
      if (child.exitCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      return child.exitCode;
    },
  };
}

export function token(user, rooms, seconds = 600) {
  const b64 = (v) => Buffer.from(JSON.stringify(v)).toString('base64url');
  const claims = { iss: 'https://id.example.com', aud: 'web', sub: user, rooms, exp: Math.floor(Date.now() / 1000) + seconds };
  const head = `${b64({ alg: 'HS256', typ: 'JWT' })}.${b64(claims)}`;
  return `${head}.${createHmac('sha256', 'only-a-test-key-of-thirty-two-bytes').update(head).digest('base64url')}`;
}
