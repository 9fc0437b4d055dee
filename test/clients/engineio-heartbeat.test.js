// Engine.IO's heartbeats, as quick as its description's own tests have them.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { open, Polling, webSocket } from './engine.js';
import { start } from './server.js';

const interval = 300;
const timeout = 200;

let server;
before(async () => { server = await start({ manifests: 'quick' }); });
after(() => server.stop());

// assertPinged holds a ping to the time when it may come: not before the interval,
// and not so late that the client would give up.
function assertPinged(since) {
  const took = performance.now() - since;
  assert.ok(took > interval - 10 && took < interval + timeout, `a ping after ${took} ms`);
}

test('the handshake says how often', async () => {
  const { hello } = await Polling.open(server);
  assert.deepEqual([hello.pingInterval, hello.pingTimeout], [interval, timeout]);
});

describe('polling', () => {
  test('pings come an interval after the handshake, and after each pong', async () => {
    const p = await Polling.open(server);
    let since = performance.now();
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await p.poll(), ['2']);
      assertPinged(since);
      since = performance.now();
      await p.push('3');
    }
  });

  test('without a pong there is no session after interval and timeout', async () => {
    for (let i = 0; i < 3; i++) {
      const p = await Polling.open(server);
      await pause(interval + timeout);
      await p.assertClosed();
    }
  });

  test('without a pong there is no session to send to either', async () => {
    const p = await Polling.open(server);
    await pause(interval + timeout);
    assert.equal((await p.post('3')).status, 400);
  });

  test('the clock of a ping starts when it is due, not when it is fetched', async () => {
    const p = await Polling.open(server);
    const since = performance.now();
    await pause(interval + timeout - 100);
    assert.deepEqual(await p.poll(), ['2']);
    await pause(interval + timeout - (performance.now() - since) + 20);
    await p.assertClosed();
  });

  test('a GET that waits when the time is over is told', async () => {
    const p = await Polling.open(server);
    assert.deepEqual(await p.poll(), ['2']);
    const { status, body } = await p.get();
    assert.deepEqual([status, body], [200, '1']);
    await p.assertClosed();
  });

  test('a ping of the client\'s ends the session', async () => {
    const p = await Polling.open(server);
    await p.post('2');
    await p.assertClosed();
  });

  test('pongs keep the session, also those that nobody asked for', async () => {
    const p = await Polling.open(server);
    for (const end = performance.now() + 3 * (interval + timeout); performance.now() < end;) {
      await p.push('3');
      await pause(interval / 3);
    }
    await p.assertOpen();
  });

  test('only pongs keep the session', async () => {
    const p = await Polling.connected(server);
    for (const end = performance.now() + interval + timeout; performance.now() < end;) {
      await p.post('42["join","r"]');
      await pause(20);
    }
    await p.assertClosed();
  });
});

describe('WebSocket', () => {
  test('pings come an interval after the handshake, and after each pong', async () => {
    const ws = webSocket(server, {}, { pongs: false });
    open(await ws.next());
    let since = performance.now();
    for (let i = 0; i < 3; i++) {
      assert.equal(await ws.next(), '2');
      assertPinged(since);
      since = performance.now();
      ws.send('3');
    }
    ws.terminate();
  });

  test('without a pong the connection is closed after interval and timeout', async () => {
    const ws = webSocket(server, {}, { pongs: false });
    open(await ws.next());
    const since = performance.now();
    await ws.ended();
    const took = performance.now() - since;
    assert.ok(took > interval + timeout - 10 && took < 2 * (interval + timeout), `closed after ${took} ms`);
  });

  test('only pongs keep the connection', async () => {
    const ws = webSocket(server, {}, { pongs: false });
    open(await ws.next());
    ws.send('40');
    const chatter = setInterval(() => ws.send('42["join","r"]'), 20);
    await ws.ended('the close of a client that talks and does not answer');
    clearInterval(chatter);
  });

  test('a client that answers stays', async () => {
    const ws = webSocket(server);
    open(await ws.next());
    ws.send('40');
    assert.match(await ws.next(), /^40/);
    await pause(4 * (interval + timeout));
    await server.publish('public', { event: 'still' });
    assert.equal(await ws.next(), '42["still",null]');
    ws.terminate();
  });

  test('a session that was upgraded is pinged at the same times', async () => {
    const p = await Polling.open(server);
    const since = performance.now();
    const ws = webSocket(server, { sid: p.sid }, { pongs: false });
    await ws.opened;
    ws.send('2probe');
    assert.equal(await ws.next(), '3probe');
    ws.send('5');
    assert.equal(await ws.next(), '2');
    assertPinged(since);
    ws.send('3');
    assert.equal(await ws.next(), '2');
    await ws.ended('the close of a client that does not answer');
  });

  test('pinged by polling, answered by WebSocket', async () => {
    const p = await Polling.open(server);
    assert.deepEqual(await p.poll(), ['2']);
    const ws = webSocket(server, { sid: p.sid }, { pongs: false });
    await ws.opened;
    ws.send('2probe');
    assert.equal(await ws.next(), '3probe');
    ws.send('5');
    ws.send('3');
    assert.equal(await ws.next(), '2');
    ws.terminate();
  });
});
