// One event by every protocol, from a server that runs elsewhere, as the tests on
// a cluster do it:
//   [PUBLISH_TOKEN=...] node service.js CLIENTS_HOST EVENTS_HOST CHANNEL
// It ends with 0 when every client has got every event, in order, with the same id.
import assert from 'node:assert/strict';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { io as io44 } from 'socket.io-client-4.4';
import WebSocket from 'ws';
import { Inbox } from './wait.js';

const [clients, events, channel] = process.argv.slice(2);
assert.ok(channel, 'usage: node service.js CLIENTS_HOST EVENTS_HOST CHANNEL');
const count = 50;
const listeners = [];

// listen names a client, whose inbox gets what it is told, as {n, id}.
async function listen(name, open) {
  const inbox = new Inbox();
  const close = await open(inbox);
  listeners.push({ name, inbox, close });
}

await listen('WebSocket', (inbox) => new Promise((resolve, reject) => {
  const ws = new WebSocket(`ws://${clients}/ws/${channel}`);
  ws.on('error', reject);
  ws.on('message', (b) => {
    const m = JSON.parse(b);
    if (m.type === 'welcome') resolve(() => ws.close());
    else if (m.type === 'event') inbox.put({ n: m.data.n, id: m.id });
  });
}));

await listen('EventSource', (inbox) => new Promise((resolve, reject) => {
  const source = new EventSource(`http://${clients}/sse/${channel}`);
  source.onerror = (e) => reject(new Error(`EventSource: ${e.message ?? e.code}`));
  source.addEventListener('klaxon.welcome', () => resolve(() => source.close()));
  source.addEventListener('all', (e) => inbox.put({ n: JSON.parse(e.data).n, id: e.lastEventId }));
}));

for (const [version, connect] of [['4.8', io], ['4.4', io44]]) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    await listen(`Socket.IO ${version} by ${transports.join(', then ')}`, (inbox) => new Promise((resolve, reject) => {
      const socket = connect(`http://${clients}/${channel}`, { transports, forceNew: true });
      socket.on('connect_error', reject);
      socket.on('all', (data, id) => inbox.put({ n: data.n, id }));
      const done = () => resolve(() => socket.close());
      socket.on('connect', () => {
        if (transports.length === 1) done();
        else if (socket.io.engine.transport.name === 'websocket') done();
        else socket.io.engine.once('upgrade', done);
      });
    }));
  }
}

const credentials = process.env.PUBLISH_TOKEN ? { authorization: `Bearer ${process.env.PUBLISH_TOKEN}` } : {};
const sent = [];
for (let n = 0; n < count; n++) {
  const answer = await fetch(`http://${events}/v1/channels/${channel}/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...credentials },
    body: JSON.stringify({ event: 'all', data: { n } }),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  sent.push({ n, id: (await answer.json()).offset });
}
for (const { name, inbox, close } of listeners) {
  assert.deepEqual(await inbox.take(count, `event of ${name}`), sent, name);
  console.log(`${name}: ${count} events`);
  close();
}
process.exit(0);
