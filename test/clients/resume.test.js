// Clients whose connections break while events pour in: each goes on from where it
// was, and has every event once and in order.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { EventSource } from 'eventsource';
import { io as newest } from 'socket.io-client';
import { io as older } from 'socket.io-client-4.4';
import WebSocket from 'ws';
import { proxy } from './proxy.js';
import { start } from './server.js';
import { connected, event, eventually, Inbox, within } from './wait.js';

const channel = 'recovering';
let server;
let cable;
before(async () => {
  server = await start();
  cable = await proxy(server.host);
});
after(async () => {
  cable.close();
  await server.stop();
});

const quick = { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 };

// PlainClient is a program with a WebSocket that reconnects, as docs/protocol.md
// describes it: the last offset and the last resume token are all that it keeps.
class PlainClient {
  numbers = [];
  recovered = [];

  constructor(url) {
    this.url = url;
    this.#connect();
  }

  #connect() {
    const query = this.resume ? `?resume=${this.resume}&since=${this.offset}` : '';
    this.socket = new WebSocket(this.url + query);
    this.socket.on('message', (b) => this.#message(JSON.parse(b)));
    this.socket.on('error', () => {});
    this.socket.on('close', () => { if (!this.closed) setTimeout(() => this.#connect(), 20); });
  }

  #message(m) {
    if (m.type === 'welcome' && !this.resume) this.socket.send('{"type":"join","rooms":["r"]}');
    if (m.type === 'welcome' && m.recovered !== undefined) this.recovered.push(m.recovered);
    if (m.type === 'joined') this.joined = true;
    if (m.type === 'event') this.numbers.push(m.data);
    this.resume = m.resume ?? this.resume;
    this.offset = m.offset ?? this.offset;
  }

  close() {
    this.closed = true;
    this.socket.close();
  }
}

function streamClient(url) {
  const source = new EventSource(url);
  const c = { numbers: [], recovered: [], close: () => source.close() };
  source.addEventListener('klaxon.welcome', (e) => {
    const { recovered } = JSON.parse(e.data);
    c.joined = true;
    if (recovered !== undefined) c.recovered.push(recovered);
  });
  source.addEventListener('n', (e) => c.numbers.push(JSON.parse(e.data)));
  return c;
}

function socketClient(transports) {
  const socket = newest(`http://${cable.host}/${channel}`, { transports, ...quick });
  const c = { numbers: [], recovered: [], close: () => socket.close() };
  socket.once('connect', () => socket.emit('join', 'r', () => { c.joined = true; }));
  socket.on('connect', () => { if (c.joined) c.recovered.push(socket.recovered); });
  socket.on('n', (n) => c.numbers.push(n));
  return c;
}

test('every event comes once and in order, whatever breaks when', { timeout: 60_000 }, async () => {
  const kinds = {
    'plain WebSocket': () => new PlainClient(`ws://${cable.host}/ws/${channel}`),
    EventSource: () => streamClient(`http://${cable.host}/sse/${channel}?room=r`),
    'Socket.IO by WebSocket': () => socketClient(['websocket']),
    'Socket.IO by polling': () => socketClient(['polling']),
    'Socket.IO by both': () => socketClient(['polling', 'websocket']),
  };
  const clients = Object.entries(kinds).flatMap(([kind, make]) => Array.from({ length: 4 }, () => Object.assign(make(), { kind })));
  try {
    for (const c of clients) await eventually(`${c.kind} to be in its room`, () => c.joined);
    const total = 1500;
    for (let n = 0; n < total; n++) {
      await server.publish(channel, n % 3 ? { event: 'n', data: n } : { event: 'n', data: n, rooms: ['r'] });
      if (n % 150 === 100) cable.cut();
      if (n % 400 === 300) cable.pull();
      if (n % 400 === 350) cable.plug();
      await pause(2);
    }
    const want = Array.from({ length: total }, (_, n) => n);
    for (const c of clients) {
      await eventually(`${c.kind} to have all events`, () => c.numbers.length >= total, 20_000);
      assert.deepEqual(c.numbers, want, c.kind);
      assert.ok(c.recovered.length > 0, `${c.kind} has never come back`); // an EventSource takes two seconds to
      assert.ok(c.recovered.every(Boolean), `${c.kind} was not recovered: ${c.recovered}`);
    }
  } finally {
    for (const c of clients) c.close();
  }
});

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  describe(`socket.io-client by ${transports.join(', then ')}`, () => {
    const open = (io) => io(`http://${cable.host}/${channel}`, { transports, ...quick });

    test('4.8 is the same socket again, in its rooms, with what it has missed', async () => {
      const socket = await connected(open(newest));
      try {
        const inbox = new Inbox();
        socket.on('e', (...args) => inbox.put(args));
        await within(socket.emitWithAck('join', ['a', 'b']), 'join');
        await within(socket.emitWithAck('leave', 'b'), 'leave');
        const { id } = socket;
        const gone = event(socket, 'disconnect');
        cable.pull();
        await gone;
        const back = event(socket, 'connect');
        const sent = [];
        for (const e of [{ rooms: ['a'] }, { rooms: ['b'] }, { sessions: [id] }, {}, { rooms: ['c'] }]) {
          sent.push(await server.publish(channel, { event: 'e', data: sent.length, ...e }));
        }
        await server.publish(channel, { event: 'e', dataBase64: 'AAE=', rooms: ['a'] });
        cable.plug();
        await back;
        assert.equal(socket.recovered, true);
        assert.equal(socket.id, id);
        for (const n of [0, 2, 3]) assert.deepEqual(await inbox.next('what was missed'), [n, sent[n].offset]);
        const [bytes, last] = await inbox.next('bytes that were missed');
        assert.deepEqual(bytes, Buffer.from([0, 1]));
        assert.equal(typeof last, 'string');
        const live = await server.publish(channel, { event: 'e', data: 'live', sessions: [id] });
        assert.deepEqual(await inbox.next('a live event'), ['live', live.offset]);
        assert.deepEqual((await server.sessions(channel)).filter((s) => s.id === id).map((s) => s.rooms), [['a']]);
      } finally {
        socket.close();
      }
    });

    test('4.8 that leaves and comes back is a new socket', async () => {
      const socket = await connected(open(newest));
      try {
        const { id } = socket;
        await server.publish(channel, { event: 'e', data: 1 });
        await event(socket, 'e');
        socket.disconnect();
        socket.connect();
        await connected(socket);
        assert.notEqual(socket.id, id);
        assert.ok(!socket.recovered);
      } finally {
        socket.close();
      }
    });

    test('4.4, which knows no recovery, is a new socket and misses nothing live', async () => {
      const socket = await connected(open(older));
      try {
        const inbox = new Inbox();
        socket.on('e', (data) => inbox.put(data));
        const { id } = socket;
        const gone = event(socket, 'disconnect');
        cable.pull();
        await gone;
        const back = event(socket, 'connect');
        await server.publish(channel, { event: 'e', data: 'missed' });
        cable.plug();
        await back;
        assert.notEqual(socket.id, id);
        await server.publish(channel, { event: 'e', data: 'live' });
        assert.equal(await inbox.next('a live event'), 'live');
      } finally {
        socket.close();
      }
    });
  });
}
