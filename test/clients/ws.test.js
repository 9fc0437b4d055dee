// npm's ws, the WebSocket client that most Node programs use.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { start, token } from './server.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

// connect returns a client whose messages wait in order until they are asked for.
function connect(path, ...args) {
  const ws = new WebSocket(server.ws(path), ...args);
  const waiting = [];
  const asked = [];
  ws.on('message', (b) => {
    const m = JSON.parse(b);
    const resolve = asked.shift();
    if (resolve) resolve(m); else waiting.push(m);
  });
  ws.next = () => (waiting.length ? Promise.resolve(waiting.shift()) : new Promise((resolve) => { asked.push(resolve); }));
  return ws;
}

test('events come whole and in order, also large ones', async () => {
  const ws = connect('public');
  assert.equal((await ws.next()).type, 'welcome');
  const large = 'x'.repeat(60_000);
  for (const data of [1, 'ä', { a: [null] }, large]) {
    const { offset } = await server.publish('public', { event: 'e', data });
    assert.deepEqual(await ws.next(), { type: 'event', event: 'e', id: offset, offset, data });
  }
  ws.close(1000);
  const [code] = await once(ws, 'close');
  assert.equal(code, 1000);
});

test('rooms, with a token in the subprotocol', async () => {
  const ws = connect('private?room=a', ['klaxon.v1.json', `bearer.${token('ann', ['a', 'b'])}`]);
  const welcome = await ws.next();
  assert.equal(ws.protocol, 'klaxon.v1.json');
  assert.equal(welcome.user, 'ann');
  assert.deepEqual(welcome.rooms, ['a']);
  ws.send(JSON.stringify({ type: 'join', rooms: ['b', 'c'], ref: 'r' }));
  assert.deepEqual((await ws.next()).rooms, ['a', 'b']);
  assert.equal((await ws.next()).code, 'forbidden');
  await server.publish('private', { event: 'no', rooms: ['c'] });
  await server.publish('private', { event: 'yes', rooms: ['b'] });
  assert.equal((await ws.next()).event, 'yes');
  ws.terminate();
});

test('a client without a token is told by a close code', async () => {
  const ws = connect('private');
  const [code, reason] = await once(ws, 'close');
  assert.equal(code, 4001);
  assert.match(String(reason), /token/);
});

test('heartbeats are answered and keep the connection', async () => {
  const ws = connect('public');
  await ws.next();
  for (let i = 0; i < 4; i++) await once(ws, 'ping');
  await server.publish('public', { event: 'still' });
  assert.equal((await ws.next()).event, 'still');
  ws.terminate();
});

test('a server that ends says when to come back', async () => {
  const other = await start();
  const ws = new WebSocket(other.ws('public'));
  await once(ws, 'message');
  const said = once(ws, 'message');
  const closed = once(ws, 'close');
  const stopped = other.stop();
  const hint = JSON.parse((await said)[0]);
  assert.equal(hint.type, 'reconnect');
  assert.equal(hint.recovered, false);
  assert.equal((await closed)[0], 1012);
  assert.equal(await stopped, 0);
});
