// A server that ends and one that takes its place: every client comes back by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { start } from './server.js';
import { event, Inbox } from './wait.js';

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`clients come back after ${signal}`, async () => {
    let server = await start();
    const clients = [];
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      const socket = io(`${server.http}/`, { transports, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
      const inbox = new Inbox();
      socket.on('e', (data) => inbox.put(data));
      await event(socket, 'connect');
      if (transports.length > 1) await event(socket.io.engine, 'upgrade');
      clients.push({ name: transports.join(', then '), inbox, ended: event(socket, 'disconnect', 20_000), back: () => event(socket, 'connect', 30_000), close: () => socket.close() });
    }
    const source = new EventSource(server.sse('public'));
    const inbox = new Inbox();
    const welcomes = new Inbox();
    source.addEventListener('e', (m) => inbox.put(JSON.parse(m.data)));
    source.addEventListener('klaxon.welcome', () => welcomes.put(1));
    await welcomes.next('welcome');
    clients.push({ name: 'EventSource', inbox, back: () => welcomes.next('welcome', 30_000), close: () => source.close() });

    await server.publish('public', { event: 'e', data: 1 });
    for (const c of clients) assert.equal(await c.inbox.next(`event of ${c.name}`), 1);
    const all = clients.map((c) => c.back());
    await server.stop(signal);
    for (const c of clients) {
      // "io server disconnect" would keep it away.
      if (c.ended) assert.match((await c.ended)[0], /^transport (close|error)$/, c.name);
    }
    server = await start({ at: server.at });
    await Promise.all(all);
    await server.publish('public', { event: 'e', data: 2 });
    for (const c of clients) {
      assert.equal(await c.inbox.next(`event of ${c.name}`), 2);
      c.close();
    }
    await server.stop();
  });
}
