// From polling to WebSocket: as it should go, and interrupted at each step.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Polling, refused, webSocket } from './engine.js';
import { http, start } from './server.js';
import { eventually } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

const invalidPoll = async (p) => assert.equal((await p.get()).status, 400);

// probing is a session with a WebSocket that has been answered.
async function probing(p) {
  const ws = webSocket(server, { sid: p.sid });
  await ws.opened;
  ws.send('2probe');
  assert.equal(await ws.next('answer to the probe'), '3probe');
  return ws;
}

// assertPolls fails when a session does not get events by polling.
async function assertPolls(p, what) {
  await server.publish('public', { event: 'polled', data: what });
  assert.equal(await p.next(), `42["polled",${JSON.stringify(what)}]`);
}

async function assertHears(ws, what) {
  await server.publish('public', { event: 'heard', data: what });
  assert.equal(await ws.next('event by WebSocket'), `42["heard",${JSON.stringify(what)}]`);
}

describe('as it should go', () => {
  test('probe, answer, upgrade', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    assert.deepEqual(await p.poll(), ['6'], 'a GET after the probe is ended at once');
    ws.send('5');
    await assertHears(ws, 1);
    ws.send('420["join","r"]');
    assert.match(await ws.next(), /^430\[/);
    await invalidPoll(p);
    await assertHears(ws, 2);
    ws.terminate();
  });

  test('the GET that waits is ended by a noop', async () => {
    const p = await Polling.connected(server);
    const waiting = p.get();
    const ws = webSocket(server, { sid: p.sid });
    await ws.opened;
    ws.send('2probe');
    assert.equal((await waiting).body, '6');
    assert.equal(await ws.next(), '3probe');
    ws.send('5');
    await assertHears(ws, 1);
    ws.terminate();
  });

  test('a probe and the upgrade at once, without waiting for the answer', async () => {
    const p = await Polling.connected(server);
    const ws = webSocket(server, { sid: p.sid });
    await ws.opened;
    ws.send('2probe');
    ws.send('5');
    assert.equal(await ws.next(), '3probe');
    await invalidPoll(p);
    await assertHears(ws, 1);
    ws.terminate();
  });

  test('before CONNECT, which then goes by WebSocket', async () => {
    const p = await Polling.open(server);
    const ws = await probing(p);
    ws.send('5');
    ws.send('40');
    assert.match(await ws.next(), /^40\{/);
    await assertHears(ws, 1);
    ws.terminate();
  });

  test('a POST still counts between probe and upgrade', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    await p.push('420["join","r"]');
    ws.send('5');
    assert.match(await ws.next('ack'), /^430\[/);
    ws.terminate();
  });

  test('until the upgrade packets go by polling', async () => {
    const p = await Polling.connected(server);
    const ws = webSocket(server, { sid: p.sid });
    await ws.opened;
    await assertPolls(p, 'before the probe');
    ws.send('2probe');
    assert.equal(await ws.next(), '3probe');
    await assertPolls(p, 'after the probe');
    ws.send('5');
    await assertHears(ws, 'after the upgrade');
    ws.terminate();
  });

  test('what waits is sent by WebSocket after the upgrade, in order', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    await server.publish('public', [1, 2, 3].map((data) => ({ event: 'w', data })));
    await server.publish('public', { event: 'b', dataBase64: 'AQID' });
    ws.send('5');
    for (const n of [1, 2, 3]) assert.equal(await ws.next(), `42["w",${n}]`);
    assert.equal(await ws.next(), '451-["b",{"_placeholder":true,"num":0}]');
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3]));
    await assertHears(ws, 4);
    ws.terminate();
  });

  test('nothing is lost or comes twice while events are published', async () => {
    for (let round = 0; round < 5; round++) {
      const p = await Polling.connected(server);
      const n = 60;
      const published = (async () => {
        for (let i = 0; i < n; i++) await server.publish('public', { event: 'n', data: i });
      })();
      const got = [];
      const keep = (packets) => got.push(...packets.filter((x) => x.startsWith('42')));
      keep(await p.poll());
      const ws = webSocket(server, { sid: p.sid });
      await ws.opened;
      ws.send('2probe');
      for (let noop = false; !noop;) {
        const packets = await p.poll();
        noop = packets.includes('6');
        keep(packets);
      }
      assert.equal(await ws.next(), '3probe');
      ws.send('5');
      while (got.length < n) keep([await ws.next()]);
      await published;
      assert.deepEqual(got, Array.from({ length: n }, (_, i) => `42["n",${i}]`));
      ws.terminate();
    }
  });

  test('a session that was upgraded ends with its WebSocket', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    ws.send('5');
    await assertHears(ws, 1);
    ws.terminate();
    await eventually('the session to end', async () => JSON.parse((await p.get()).body).code === 1);
  });

  test('a polling request after the upgrade changes nothing', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    ws.send('5');
    await assertHears(ws, 1);
    await invalidPoll(p);
    assert.equal((await p.post('1')).status, 400);
    await assertHears(ws, 2);
    ws.terminate();
  });
});

describe('a second WebSocket of the session is closed', () => {
  // second opens another one; it may be refused or closed.
  const second = async (p) => {
    const ws = webSocket(server, { sid: p.sid });
    ws.on('open', () => ws.send('2probe'));
    await ws.ended('the second WebSocket to be closed');
    assert.deepEqual(ws.rest(), [], 'nothing is said to it');
  };

  test('while the first is probing', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    await second(p);
    ws.send('5');
    await assertHears(ws, 1);
    ws.terminate();
  });

  test('after the upgrade', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    ws.send('5');
    await assertHears(ws, 1);
    await second(p);
    await assertHears(ws, 2);
    ws.terminate();
  });

  test('when the session began with one', async () => {
    const ws = webSocket(server);
    const { sid } = JSON.parse((await ws.next()).slice(1));
    ws.send('40');
    await ws.next();
    await second({ sid });
    await assertHears(ws, 1);
    ws.terminate();
  });
});

describe('interrupted, the session goes on polling and may try again', () => {
  const again = async (p) => {
    await assertPolls(p, 'still');
    // The server may not have heard of the first WebSocket's end yet.
    const ws = await eventually('another upgrade', () => probing(p).catch(() => undefined));
    ws.send('5');
    await assertHears(ws, 'at last');
    ws.terminate();
  };

  test('by a WebSocket that ends before the probe', async () => {
    const p = await Polling.connected(server);
    const ws = webSocket(server, { sid: p.sid });
    await ws.opened;
    ws.terminate();
    await again(p);
  });

  test('by a WebSocket that is closed before the probe', async () => {
    const p = await Polling.connected(server);
    const ws = webSocket(server, { sid: p.sid });
    await ws.opened;
    ws.close();
    await ws.ended();
    await again(p);
  });

  test('by a WebSocket that ends before the answer', async () => {
    const p = await Polling.connected(server);
    const ws = webSocket(server, { sid: p.sid });
    await ws.opened;
    ws.send('2probe', () => ws.terminate());
    await ws.ended();
    await again(p);
  });

  test('by a WebSocket that ends after the answer', async () => {
    const p = await Polling.connected(server);
    const waiting = p.get();
    const ws = await probing(p);
    assert.equal((await waiting).body, '6');
    ws.terminate();
    await again(p);
  });

  test('by a handshake that is broken off', async () => {
    const p = await Polling.connected(server);
    const ws = webSocket(server, { sid: p.sid });
    ws.terminate();
    await ws.ended();
    await again(p);
  });

  for (const first of ['3probe', '2', '2prob', '40', '42["join","r"]', '1', '6', 'abc', '', Buffer.from('2probe')]) {
    test(`by the packet ${typeof first === 'string' ? JSON.stringify(first) : 'of bytes'} in place of a probe`, async () => {
      const p = await Polling.connected(server);
      const ws = webSocket(server, { sid: p.sid });
      await ws.opened;
      ws.send(first);
      await ws.ended('the WebSocket to be closed');
      await again(p);
    });
  }

  for (const next of ['3', '40', '1', '42["join","r"]', 'abc', Buffer.from('5')]) {
    test(`by the packet ${typeof next === 'string' ? JSON.stringify(next) : 'of bytes'} in place of the upgrade`, async () => {
      const p = await Polling.connected(server);
      const ws = await probing(p);
      ws.send(next);
      await ws.ended('the WebSocket to be closed');
      await again(p);
    });
  }

  test('by a message that is too large', async () => {
    const p = await Polling.connected(server);
    const ws = await probing(p);
    ws.send('x'.repeat(p.hello.maxPayload + 1));
    await ws.ended('the WebSocket to be closed');
    await again(p);
  });

  test('by a refused Origin', async () => {
    const p = await Polling.connected(server);
    assert.equal((await refused(server, { transport: 'websocket', sid: p.sid }, { origin: 'http://evil.example' })).status, 403);
    await again(p);
  });

  test('by a request that is no upgrade', async () => {
    const p = await Polling.connected(server);
    assert.equal((await http(p.url.replace('polling', 'websocket'))).status, 400);
    await again(p);
  });
});

test('a session that ends takes its probing WebSocket along', async () => {
  const p = await Polling.connected(server);
  const ws = await probing(p);
  await p.post('1');
  await ws.ended('the WebSocket to be closed');
});
