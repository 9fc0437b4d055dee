// npm's Socket.IO clients and three push servers, with nothing sticky in between.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { io as newest } from 'socket.io-client';
import { io as older } from 'socket.io-client-4.4';
import { startFleet } from './fleet.js';
import { event, eventually } from './wait.js';

let fleet;
before(async () => { fleet = await startFleet(); });
after(() => fleet.stop());

// follower is a client that counts what it gets.
async function follower(io, options) {
  const socket = io(`${fleet.http}/orders`, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 300, ...options });
  const f = { socket, numbers: [], recovered: [], upgrades: 0 };
  socket.on('n', (n) => f.numbers.push(n));
  socket.on('connect', () => f.recovered.push(socket.recovered));
  socket.io.on('open', () => socket.io.engine.on('upgrade', () => { f.upgrades += 1; }));
  await event(socket, 'connect');
  return f;
}

test('clients that poll first upgrade wherever their WebSocket comes to, and their session moves there', async () => {
  let next = 0;
  let publishing = true;
  const publisher = (async () => {
    for (; publishing; next += 1) await fleet.publish({ event: 'n', data: next }, next % 3);
  })();
  const followers = [];
  for (let i = 0; i < 24; i += 1) followers.push(await follower(i % 2 ? newest : older, {}));
  await eventually('all to upgrade', () => followers.every((f) => f.upgrades === 1));
  publishing = false;
  await publisher;
  await fleet.publish({ event: 'n', data: next });
  for (const f of followers) {
    await eventually('the last event', () => f.numbers.at(-1) === next);
    f.numbers.forEach((n, i) => assert.equal(n, f.numbers[0] + i));
    assert.equal(f.socket.io.engine.transport.name, 'websocket');
    assert.equal(f.recovered.length, 1);
  }
  // No client is connected twice, and none through another push server.
  await eventually('polls to end', async () => (await fleet.connections()).reduce((a, b) => a + b) === followers.length);
  assert.equal(await fleet.sessions(1), followers.length);
  for (const f of followers) f.socket.disconnect();
});

test('clients of a push server that is killed are recovered by the others, with their rooms', async () => {
  const followers = [];
  for (let i = 0; i < 12; i += 1) {
    const f = await follower(newest, { transports: ['websocket'] });
    assert.deepEqual((await f.socket.emitWithAck('join', 'vip')).rooms, ['vip']);
    followers.push(f);
  }
  const ids = followers.map((f) => f.socket.id);
  await fleet.publish({ event: 'n', data: 0, rooms: ['vip'] });
  for (const f of followers) await eventually('an event', () => f.numbers.length === 1);
  for (const i of [0, 1, 2]) assert.equal(await fleet.reached({ event: 'counted', rooms: ['vip'] }, i), followers.length);
  const [, , lost] = await fleet.connections();
  assert.ok(lost > 0);
  await fleet.kill(2);
  for (let n = 1; n <= 20; n += 1) await fleet.publish({ event: 'n', data: n, rooms: ['vip'] }, n % 2);
  for (const f of followers) {
    await eventually('what it has missed', () => f.numbers.length === 21);
    assert.deepEqual(f.numbers, Array.from({ length: 21 }, (_, n) => n));
  }
  const back = followers.filter((f) => f.recovered.length > 1);
  assert.equal(back.length, lost);
  for (const f of back) assert.deepEqual(f.recovered, [false, true]);
  assert.deepEqual(followers.map((f) => f.socket.id), ids);
  for (const f of followers) f.socket.disconnect();
});
