// Starts three push servers with a broker between them, and one address for clients
// that gives each connection to the next of them, as a Service does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './ports.js';
import { http } from './server.js';
import { eventually, within } from './wait.js';

const bin = (name) => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
const password = 'a-password-that-only-tests-use';

const settings = (natsPort) => ({
  format: 1,
  revision: 'first',
  pusher: {
    namespace: 'shop', name: 'edge', admin: {}, openPublishing: true,
    heartbeat: { interval: '2s', timeout: '2s' }, drain: { period: '2s', maxPeriod: '1m0s' },
    nats: { url: `nats://127.0.0.1:${natsPort}`, replicas: 1, memory: true, user: 'pusher', password },
    sessionKey: Buffer.alloc(32, 'key').toString('base64'),
  },
  channels: [{
    name: 'orders', uid: '1', revision: 'first', clients: { anonymous: true }, publishers: {}, presence: true,
    limits: { eventBytes: 65536, connections: 10000 }, slowClients: { bufferBytes: 262144, policy: 'Disconnect' },
    history: { size: 10000, ttl: '1h0m0s', bytes: 67108864 }, socketIO: { namespace: '/orders', recovery: true },
  }],
});

async function answers(url) {
  try {
    return (await http(url)).status === 200;
  } catch {
    return false;
  }
}

export async function startFleet() {
  const dir = await mkdtemp(join(tmpdir(), 'klaxon-fleet-'));
  const children = [];
  const run = (name, ...args) => {
    const child = spawn(bin(name), ['--log-level=error', ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
    children.push(child);
    return child;
  };
  const [nats, routes, health] = [await freePort(), await freePort(), await freePort()];
  await writeFile(join(dir, 'clients'), `pusher:${password}\n`);
  await writeFile(join(dir, 'settings.json'), JSON.stringify(settings(nats)));
  run('broker', '--name=node', `--credentials=${dir}`, `--clients-addr=127.0.0.1:${nats}`, `--routes-addr=127.0.0.1:${routes}`, `--health-addr=127.0.0.1:${health}`);
  await eventually('the broker', () => answers(`http://127.0.0.1:${health}/readyz`));

  const servers = [];
  for (let i = 0; i < 3; i += 1) {
    const at = { clients: await freePort(), events: await freePort(), admin: await freePort() };
    at.child = run('pusher', `--settings=${join(dir, 'settings.json')}`,
      ...['clients', 'events', 'admin'].map((l) => `--${l}-addr=127.0.0.1:${at[l]}`));
    servers.push(at);
  }
  for (const at of servers) await eventually('a push server', () => answers(`http://127.0.0.1:${at.admin}/readyz`));

  let turn = 0;
  const service = createServer((client) => {
    const alive = servers.filter((s) => !s.gone);
    const server = connect(alive[turn++ % alive.length].clients, '127.0.0.1');
    for (const [a, b] of [[client, server], [server, client]]) a.on('error', () => b.destroy()).on('close', () => b.destroy());
    client.pipe(server).pipe(client);
  }).listen(0, '127.0.0.1');
  await once(service, 'listening');

  const manage = async (i, path, event) => {
    const answer = await http(`http://127.0.0.1:${servers[i].events}/v1/channels/orders/${path}`,
      event && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(event) });
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`);
    return JSON.parse(answer.body);
  };
  return {
    http: `http://127.0.0.1:${service.address().port}`,
    publish: (event, i = 0) => manage(i, 'events', event),
    // reached publishes an event and says how many sessions that was for.
    reached: async (event, i = 0) => (await manage(i, 'events?reached=true', event)).reached,
    sessions: async (i = 0) => (await manage(i, 'sessions')).total,
    // connections are how many each push server has.
    connections: () => Promise.all(servers.filter((s) => !s.gone).map(async (s) => JSON.parse((await http(`http://127.0.0.1:${s.admin}/status`)).body).connections)),
    async kill(i) {
      servers[i].gone = true;
      servers[i].child.kill('SIGKILL');
      await once(servers[i].child, 'exit');
    },
    async stop() {
      service.close();
      const ends = children.filter((c) => c.exitCode === null && c.signalCode === null).map((c) => once(c, 'exit'));
      for (const c of children) c.kill('SIGTERM');
      await within(Promise.all(ends), 'the fleet to end', 20_000);
      await rm(dir, { recursive: true });
    },
  };
}
