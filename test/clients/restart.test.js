// A server that ends and one that takes its place: every client comes back by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { start } from './server.js';
import { connected, event, Inbox } from './wait.js';

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`clients come back after ${signal}`, async (t) => {
    let server = await start();
    const clients = [];
    t.after(() => {
      for (const c of clients) c.close();
      return server.stop();
    });
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      const socket = io(`${server.http}/`, { transports, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
      const inbox = new Inbox();
      socket.on('e', (data) => inbox.put(data));
      clients.push({
        name: transports.join(', then '),
        inbox,
        ready: () => connected(socket),
        ended: () => event(socket, 'disconnect', 20_000),
        back: () => event(socket, 'connect', 30_000),
        close: () => socket.close(),
      });
    }
    const source = new EventSource(server.sse('public'));
    const inbox = new Inbox();
    const welcomes = new Inbox();
    source.addEventListener('e', (m) => inbox.put(JSON.parse(m.data)));
    source.addEventListener('klaxon.welcome', () => welcomes.put(1));
    clients.push({
      name: 'EventSource',
      inbox,
      ready: () => welcomes.next('welcome'),
      ended: () => ['transport close'],
      back: () => welcomes.next('welcome', 30_000),
      close: () => source.close(),
    });
    for (const c of clients) await c.ready();

    await server.publish('public', { event: 'e', data: 1 });
    for (const c of clients) assert.equal(await c.inbox.next(`event of ${c.name}`), 1);
    const ended = clients.map((c) => c.ended());
    const back = clients.map((c) => c.back());
    await server.stop(signal);
    // "io server disconnect" would keep them away.
    for (const [reason] of await Promise.all(ended)) assert.match(reason, /^transport (close|error)$/);
    server = await start({ at: server.at });
    await Promise.all(back);
    await server.publish('public', { event: 'e', data: 2 });
    for (const c of clients) assert.equal(await c.inbox.next(`event of ${c.name}`), 2);
  });
}
