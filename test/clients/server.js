// Starts the product as `make run` does, and says where it listens.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { within } from './wait.js';

const here = (p) => fileURLToPath(new URL(p, import.meta.url));
const program = process.env.KLAXON ?? here('../../bin/klaxon');
const free = '127.0.0.1:0';

// start serves a folder of manifests on free ports, or on those of a server that
// has ended.
export async function start({ manifests = 'usual', folder = here(`manifests/${manifests}`), at = { clients: free, events: free } } = {}) {
  const child = spawn(program, ['serve', '-f', folder,
    '--clients-addr', at.clients, '--events-addr', at.events, '--admin-addr', free], { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = once(child, 'exit');
  at = await within(listening(child, gone), 'klaxon serve to say where it listens');
  const events = new Agent({ keepAlive: true, maxSockets: 1 });
  const manage = async (method, path, body) => {
    const answer = await http(`http://${at.events}/v1/channels/${path}`,
      { method, agent: events, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body}`);
    return answer.body && JSON.parse(answer.body);
  };
  return {
    at,
    host: at.clients,
    http: `http://${at.clients}`,
    ws: (path) => `ws://${at.clients}/ws/${path}`,
    sse: (path) => `http://${at.clients}/sse/${path}`,
    // publish takes an event, or a list of them.
    publish: (channel, event) => manage('POST', `${channel}/events`, event),
    sessions: async (channel) => (await manage('GET', `${channel}/sessions`)).sessions,
    disconnect: (channel, session) => manage('DELETE', `${channel}/sessions/${session}`),
    async stop(signal = 'SIGTERM') {
      events.destroy();
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await within(gone, 'klaxon serve to end', 20_000);
      return child.exitCode;
    },
  };
}

// listening reads where a server listens from what it prints.
async function listening(child, gone) {
  const wanted = { clients: /ws:\/\/([\d.:]+)\/ws\//, events: /http:\/\/([\d.:]+)\/v1\/channels\// };
  let text = '';
  child.stdout.on('data', (b) => { text += b; });
  for (;;) {
    const found = Object.entries(wanted).map(([k, re]) => [k, re.exec(text)?.[1]]);
    if (found.every(([, v]) => v)) return Object.fromEntries(found);
    const ended = gone.then(([code]) => { throw new Error(`klaxon serve ended with ${code}: ${text}`); });
    await Promise.race([once(child.stdout, 'data'), ended]);
  }
}

// http makes a request and reads the whole answer, however long it takes to come.
// Without an agent it has a connection of its own.
export function http(url, { method = 'GET', headers = {}, body, agent = false, signal } = {}) {
  return new Promise((resolve, reject) => {
    const r = request(url, { method, headers, agent, signal }, (answer) => {
      const parts = [];
      answer.on('data', (b) => parts.push(b));
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts).toString() }));
    });
    r.on('error', reject);
    r.end(body);
  });
}

// token makes a token as the users' issuer would.
export function token(user, rooms, seconds = 600) {
  const b64 = (v) => Buffer.from(JSON.stringify(v)).toString('base64url');
  const claims = { iss: 'https://id.example.com', aud: 'web', sub: user, rooms, exp: Math.floor(Date.now() / 1000) + seconds };
  const head = `${b64({ alg: 'HS256', typ: 'JWT' })}.${b64(claims)}`;
  return `${head}.${createHmac('sha256', 'only-a-test-key-of-thirty-two-bytes').update(head).digest('base64url')}`;
}
