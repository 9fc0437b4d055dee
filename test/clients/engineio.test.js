// Engine.IO v4, sentence by sentence, with bytes of our own.
import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { open, path, Polling, refused, separator, webSocket } from './engine.js';
import { http, start } from './server.js';
import { event, eventually, within } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

const errors = {
  transport: { code: 0, message: 'Transport unknown' },
  sid: { code: 1, message: 'Session ID unknown' },
  method: { code: 2, message: 'Bad handshake method' },
  request: { code: 3, message: 'Bad request' },
  forbidden: { code: 4, message: 'Forbidden' },
  version: { code: 5, message: 'Unsupported protocol version' },
};

function assertError(answer, want, status = 400) {
  assert.equal(answer.status, status, answer.body);
  assert.match(answer.headers['content-type'], /^application\/json\b/);
  assert.deepEqual(JSON.parse(answer.body), want);
}

const ask = (query, options) => within(http(server.http + path(query), options), 'an answer');

// begun sends a request's head and part of its body. It is under way when the
// server has asked for the rest.
async function begun(polling, length, part = '') {
  const r = request(polling.url, { method: 'POST', agent: false,
    headers: { 'content-type': 'text/plain', 'content-length': length, expect: '100-continue' } });
  r.on('error', () => {});
  r.flushHeaders();
  await event(r, 'continue');
  if (part) r.write(part);
  r.answered = new Promise((resolve) => { r.on('response', (a) => { a.resume(); resolve(a); }); });
  return r;
}

const keys = ['maxPayload', 'pingInterval', 'pingTimeout', 'sid', 'upgrades'];

describe('handshake', () => {
  test('by polling', async () => {
    const answer = await ask({ transport: 'polling' });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'text/plain; charset=UTF-8');
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(Number(answer.headers['content-length']), Buffer.byteLength(answer.body));
    const hello = open(answer.body);
    assert.deepEqual(Object.keys(hello).sort(), keys);
    assert.match(hello.sid, /^[\w-]{20,}$/);
    assert.deepEqual(hello, { sid: hello.sid, upgrades: ['websocket'], pingInterval: 1000, pingTimeout: 2000, maxPayload: 65536 });
  });

  test('by WebSocket', async () => {
    const ws = webSocket(server);
    const hello = open(await ws.next());
    assert.deepEqual(Object.keys(hello).sort(), keys);
    assert.deepEqual(hello, { sid: hello.sid, upgrades: [], pingInterval: 1000, pingTimeout: 2000, maxPayload: 65536 });
    ws.terminate();
  });

  test('other parameters, and a path with nothing after it, are fine', async () => {
    open((await ask({ transport: 'polling', t: 'abc', b64: 1, token: 'x', app: 'ä&=' })).body);
    const ws = webSocket(server, { t: 'abc' });
    open(await ws.next());
    ws.terminate();
  });

  test('session ids are never the same, and not the ids of Socket.IO', async () => {
    const sids = new Set();
    for (let i = 0; i < 50; i++) sids.add((await Polling.open(server)).sid);
    assert.equal(sids.size, 50);
    const p = await Polling.open(server);
    await p.push('40');
    assert.notEqual(JSON.parse((await p.next()).slice(2)).sid, p.sid);
  });

  test('nothing comes before CONNECT', async () => {
    const ws = webSocket(server);
    await ws.next();
    await server.publish('public', { event: 'early' });
    ws.send('40');
    assert.match(await ws.next(), /^40\{/);
    ws.terminate();
  });
});

describe('errors', () => {
  const handshakes = [
    ['no transport', { transport: undefined }, {}, errors.transport],
    ['an unknown transport', { transport: 'abc' }, {}, errors.transport],
    ['a transport of the prototype', { transport: 'constructor' }, {}, errors.transport],
    ['no version', { transport: 'polling', EIO: undefined }, {}, errors.version],
    ['version 3', { transport: 'polling', EIO: 3 }, {}, errors.version],
    ['version 5', { transport: 'polling', EIO: 5 }, {}, errors.version],
    ['a version that is no number', { transport: 'polling', EIO: 'abc' }, {}, errors.version],
    ['a POST without a session', { transport: 'polling' }, { method: 'POST', body: '40' }, errors.method],
    ['a PUT without a session', { transport: 'polling' }, { method: 'PUT' }, errors.method],
    ['a DELETE without a session', { transport: 'polling' }, { method: 'DELETE' }, errors.method],
    ['websocket without an upgrade', { transport: 'websocket' }, {}, errors.request],
    ['an unknown session', { transport: 'polling', sid: 'abc' }, {}, errors.sid],
    ['an unknown session, by POST', { transport: 'polling', sid: 'abc' }, { method: 'POST', body: '3' }, errors.sid],
    ['a session of the prototype', { transport: 'polling', sid: '__proto__' }, {}, errors.sid],
    ['a session that is too long', { transport: 'polling', sid: 'a'.repeat(3000) }, {}, errors.sid],
    ['a session of other bytes', { transport: 'polling', sid: 'ä\0\r\n' }, {}, errors.sid],
    ['transport before version', { transport: 'abc', EIO: 3 }, {}, errors.transport],
    ['transport before session', { transport: 'abc', sid: 'abc' }, {}, errors.transport],
    ['transport before method', { transport: 'abc' }, { method: 'POST' }, errors.transport],
    ['session before method', { transport: 'polling', sid: 'abc' }, { method: 'PUT' }, errors.sid],
    ['a refused Origin', { transport: 'polling' }, { headers: { origin: 'http://evil.example' } }, errors.forbidden, 403],
  ];
  for (const [name, query, options, want, status] of handshakes) {
    test(name, async () => assertError(await ask(query, options), want, status));
  }

  test('an empty session id is none', async () => {
    // As for the reference: what is not there and what is empty are the same.
    open((await ask({ transport: 'polling', sid: '' })).body);
    assertError(await ask({ transport: 'polling', sid: '' }, { method: 'POST', body: '3' }), errors.method);
  });

  test('a forged session id, whichever character it is forged in', async () => {
    const { sid } = await Polling.open(server);
    for (let i = 0; i < sid.length; i++) {
      const forged = `${sid.slice(0, i)}${sid[i] === 'A' ? 'B' : 'A'}${sid.slice(i + 1)}`;
      assertError(await ask({ transport: 'polling', sid: forged }), errors.sid);
    }
    for (const near of [sid.slice(1), sid.slice(0, -1), `${sid}A`, `${sid}=`, `${sid} `, sid + sid]) {
      assertError(await ask({ transport: 'polling', sid: near }), errors.sid);
    }
  });

  test('a session asked for by the transport that it has not', async () => {
    const ws = webSocket(server);
    const { sid } = open(await ws.next());
    assertError(await ask({ transport: 'polling', sid }), errors.request);
    assertError(await ask({ transport: 'polling', sid }, { method: 'POST', body: '40' }), errors.request);
    ws.send('40');
    assert.match(await ws.next(), /^40\{/, 'it goes on');
    ws.terminate();
    const p = await Polling.open(server);
    assertError(await ask({ transport: 'websocket', sid: p.sid }), errors.request);
    await p.assertOpen();
  });

  const upgrades = [
    ['no transport', { transport: undefined }],
    ['an unknown transport', { transport: 'abc' }],
    ['no version', { transport: 'websocket', EIO: undefined }],
    ['version 3', { transport: 'websocket', EIO: 3 }],
    ['a version that is no number', { transport: 'websocket', EIO: 'abc' }],
    ['an unknown session', { transport: 'websocket', sid: 'abc' }],
    ['a session of the prototype', { transport: 'websocket', sid: '__proto__' }],
    ['polling', { transport: 'polling' }],
  ];
  for (const [name, query] of upgrades) {
    test(`a WebSocket with ${name}`, async () => assert.equal((await refused(server, query)).status, 400));
  }

  test('a WebSocket of a refused Origin', async () => {
    assert.equal((await refused(server, { transport: 'websocket' }, { origin: 'http://evil.example' })).status, 403);
  });
});

describe('polling', () => {
  test('POST is answered ok', async () => {
    const p = await Polling.open(server);
    const answer = await p.post('40');
    assert.equal(answer.status, 200);
    assert.equal(answer.body, 'ok');
    assert.match(answer.headers['content-type'], /^text\/html\b/);
  });

  test('GET is answered text, whole', async () => {
    const p = await Polling.connected(server);
    await server.publish('public', { event: 'e', data: 'äöü €  😀' });
    const answer = await p.get();
    assert.equal(answer.headers['content-type'], 'text/plain; charset=UTF-8');
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(Number(answer.headers['content-length']), Buffer.byteLength(answer.body));
    assert.equal(answer.body, '42["e","äöü €  😀"]');
  });

  test('a GET waits until there is something to say', async () => {
    const p = await Polling.connected(server);
    const waiting = p.get();
    const { offset } = await server.publish('public', { event: 'late', data: 1 });
    assert.ok(offset);
    assert.equal((await waiting).body, '42["late",1]');
  });

  test('packets are joined by the record separator, in both directions', async () => {
    const p = await Polling.connected(server);
    await server.publish('public', [{ event: 'a' }, { event: 'b', data: [1] }, { event: 'c', data: {} }]);
    assert.deepEqual(await p.poll(), ['42["a",null]', '42["b",[1]]', '42["c",{}]']);
    await p.push('420["join","r"]', '421["leave","r"]', '3', '422["join","s"]');
    const acks = [await p.next(), await p.next(), await p.next()];
    assert.deepEqual(acks.map((a) => a.slice(0, 4)), ['430[', '431[', '432[']);
    assert.deepEqual(JSON.parse(acks[2].slice(3))[0].rooms, ['s']);
  });

  test('binary is b and base64, in both directions', async () => {
    const p = await Polling.connected(server);
    await server.publish('public', { event: 'raw', dataBase64: 'AQIDBA==' });
    assert.deepEqual(await p.poll(), ['451-["raw",{"_placeholder":true,"num":0}]', 'bAQIDBA==']);
    await p.push('451-7["up",{"_placeholder":true,"num":0}]', 'bAQIDBA==');
    assert.match(await p.next(), /^437\[\{"error":\{"code":"not_handled"/);
  });

  test('a packet and its attachments may come in several payloads', async () => {
    const p = await Polling.connected(server);
    await p.push('452-8["up",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    await p.push('bAQ==');
    await p.push('bAg==', '429["join","r"]');
    assert.match(await p.next(), /^438\[/);
    assert.match(await p.next(), /^439\[/);
  });

  test('binary that is no base64 ends the session', async () => {
    const p = await Polling.connected(server);
    assert.equal((await p.post(['451-["up",{"_placeholder":true,"num":0}]', 'b!!!!'].join(separator))).status, 400);
    await p.assertClosed();
  });

  for (const body of ['abc', '', '4hello', '9', `3${separator}abc`, separator, `${separator}3`, '7']) {
    test(`the payload ${JSON.stringify(body)} ends the session`, async () => {
      const p = await Polling.open(server);
      assert.equal((await p.post(body)).status, 400);
      await p.assertClosed();
    });
  }

  test('text that is no UTF-8 ends the session', async () => {
    const p = await Polling.connected(server);
    assert.equal((await p.post(Buffer.from('42["\xff"]', 'latin1'))).status, 400);
    await p.assertClosed();
  });

  test('a POST of application/octet-stream is refused', async () => {
    const p = await Polling.open(server);
    assert.equal((await p.post('40', { headers: { 'content-type': 'application/octet-stream' } })).status, 400);
  });

  test('a POST without a content type is text', async () => {
    const p = await Polling.open(server);
    const { status, body } = await within(http(p.url, { method: 'POST', body: '40' }), 'an answer');
    assert.deepEqual([status, body], [200, 'ok']);
    assert.match(await p.next(), /^40\{/);
  });

  test('a POST may come in chunks', async () => {
    const p = await Polling.open(server);
    const answer = new Promise((resolve, reject) => {
      const r = request(p.url, { method: 'POST', agent: false, headers: { 'content-type': 'text/plain', 'transfer-encoding': 'chunked' } }, resolve);
      r.on('error', reject);
      r.write('4');
      r.end('0');
    });
    const r = await within(answer, 'an answer');
    assert.equal(r.statusCode, 200);
    r.resume();
    assert.match(await p.next(), /^40\{/);
  });

  test('what is larger than maxPayload is 413 with nothing in it', async () => {
    const p = await Polling.connected(server);
    const { maxPayload } = p.hello;
    const fits = `42["x","${'a'.repeat(maxPayload - 10)}"]`;
    assert.equal(fits.length, maxPayload);
    await p.push(fits);
    assert.match(await p.next(), /^42\["klaxon.error",/);
    const answer = await p.post(`4${fits}`);
    assert.deepEqual([answer.status, answer.body], [413, '']);
    const chunked = await within(new Promise((resolve, reject) => {
      const r = request(p.url, { method: 'POST', agent: false, headers: { 'transfer-encoding': 'chunked' } }, (a) => { a.resume(); resolve(a); });
      r.on('error', reject);
      r.end(`4${fits}`);
    }), 'an answer');
    // The session may have ended with the first; it is not fed either way.
    assert.ok([413, 400].includes(chunked.statusCode), chunked.statusCode);
  });

  test('two GETs at once end the session', async () => {
    for (let i = 0; i < 10; i++) {
      const p = await Polling.open(server);
      const answers = (await Promise.all([p.get(), p.get()])).map((a) => `${a.status} ${a.status === 200 ? a.body : ''}`);
      assert.deepEqual(answers.sort(), ['200 1', '400 ']);
      await p.assertClosed();
    }
  });

  test('two POSTs at once end the session', async () => {
    const p = await Polling.open(server);
    const first = await begun(p, 10, '4');
    assert.equal((await p.post('40')).status, 400);
    await p.assertClosed();
    first.destroy();
  });

  test('two POSTs at once end the session, and the GET that waits', async () => {
    const p = await Polling.connected(server);
    const first = await begun(p, 10, '4');
    const waiting = p.get();
    // Whichever comes first: a GET that finds the session ended is answered 400.
    const second = await p.post('3');
    const got = await waiting;
    assert.equal(second.status, 400);
    assert.ok(got.status === 400 || got.body === '1', `${got.status} ${got.body}`);
    await p.assertClosed();
    first.destroy();
  });

  test('a GET and a POST at once are as it should be', async () => {
    const p = await Polling.connected(server);
    for (let i = 0; i < 20; i++) {
      const [got] = await Promise.all([p.get(), p.push(`42${i}["join","r${i}"]`)]);
      const packets = got.body.split(separator);
      if (packets.includes('2')) await p.push('3');
      p.packets.push(...packets.filter((x) => x !== '2'));
      assert.match(await p.next(), new RegExp(`^43${i}\\[`));
    }
  });

  test('a GET that its client gives up ends the session', async () => {
    const p = await Polling.open(server);
    const abort = new AbortController();
    const given = p.get({ signal: abort.signal });
    await Polling.open(server); // until this is answered, the GET has long been sent
    abort.abort();
    await assert.rejects(given, { name: 'AbortError' });
    await eventually('the session to end', async () => (await p.post('3')).status === 400);
    await p.assertClosed();
  });

  test('a POST that its client gives up ends the session', async () => {
    const p = await Polling.open(server);
    const first = await begun(p, 10, '4');
    first.destroy();
    const { status, body } = await p.get();
    if (status === 200) assert.equal(body, '1', 'a GET that came before the end is told of it');
    await p.assertClosed();
  });

  test('a close ends the session, and the GET that waits with a noop', async () => {
    for (let i = 0; i < 10; i++) {
      const p = await Polling.open(server);
      const [got, closed] = await Promise.all([p.get(), p.post('1')]);
      assert.equal(closed.status, 200, 'the close is taken');
      // The two come on two connections: the close may overtake the GET.
      assert.ok(got.status === 400 || got.body === '6', `${got.status} ${got.body}`);
      await p.assertClosed();
    }
  });

  test('packets after a close are nobody\'s', async () => {
    const p = await Polling.connected(server);
    await p.post(['1', '420["join","r"]'].join(separator));
    await p.assertClosed();
  });

  test('at most 16 packets in an answer, none lost', async () => {
    const p = await Polling.connected(server);
    const n = 100;
    await server.publish('public', Array.from({ length: n }, (_, i) => ({ event: 'e', data: i })));
    const got = [];
    while (got.length < n) {
      const packets = await p.poll();
      assert.ok(packets.length <= 16, `${packets.length} packets in one answer`);
      if (packets.includes('2')) await p.push('3');
      got.push(...packets.filter((x) => x !== '2'));
    }
    assert.deepEqual(got, Array.from({ length: n }, (_, i) => `42["e",${i}]`));
  });

  test('one connection can carry all requests', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const p = await Polling.open(server, { agent });
    await p.post('40', { agent });
    assert.match((await p.get({ agent })).body, /^40\{/);
    await server.publish('public', { event: 'e' });
    assert.equal((await p.get({ agent })).body, '42["e",null]');
    agent.destroy();
  });
});

describe('WebSocket', () => {
  test('close ends the session', async () => {
    const ws = webSocket(server);
    await ws.next();
    ws.send('1');
    await ws.ended();
  });

  for (const packet of ['abc', '', '7', '2', '2probe']) {
    test(`the packet ${JSON.stringify(packet)} ends the session`, async () => {
      const ws = webSocket(server);
      await ws.next();
      ws.send(packet);
      await ws.ended();
    });
  }

  test('what is larger than maxPayload is 1009 with no reason', async () => {
    const ws = webSocket(server);
    const { maxPayload } = open(await ws.next());
    ws.send('40');
    await ws.next();
    const fits = `42["x","${'a'.repeat(maxPayload - 10)}"]`;
    ws.send(fits);
    assert.match(await ws.next(), /^42\["klaxon.error",/);
    ws.send(`${fits} `);
    assert.deepEqual(await ws.ended(), { code: 1009, reason: '' });
  });

  test('a session of a WebSocket is not there without it', async () => {
    const ws = webSocket(server);
    const { sid } = open(await ws.next());
    ws.terminate();
    await eventually('the session to end', async () => JSON.parse((await ask({ transport: 'polling', sid })).body).code === 1);
    assert.equal((await refused(server, { transport: 'websocket', sid })).status, 400);
  });
});
