// Handlers that are slow, gone or wrong, as their clients see them, and as others do not.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { io } from 'socket.io-client';
import { backend, channel, serveWith } from './backend.js';
import { connected, eventually, event, within } from './wait.js';

// wrong is what a handler does with a call of a name.
const wrong = {
  hang() {},
  'half an answer'(response) { response.writeHead(200, { 'content-type': 'application/json', 'content-length': 10 }).write('{'); },
  'break off'(response) { response.destroy(); },
  500(response) { response.writeHead(500).end(); },
  429(response) { response.writeHead(429).end(); },
  404(response) { response.writeHead(404).end(); },
  redirect(response) { response.writeHead(302, { location: '/elsewhere' }).end(); },
  'no JSON'(response) { response.writeHead(200, { 'content-type': 'application/json' }).end('<html>'); },
  'another type'(response) { response.writeHead(200, { 'content-type': 'text/html' }).end('{}'); },
  'a misspelt member'(response) { response.writeHead(200, { 'content-type': 'application/json' }).end('{"akc":[]}'); },
  'too much'(response) { response.writeHead(200, { 'content-type': 'application/json' }).end(`{"ack":["${'x'.repeat(3 << 20)}"]}`); },
};
const codes = {
  hang: 'unavailable', 'half an answer': 'unavailable', 'break off': 'unavailable', 500: 'failed', 429: 'unavailable',
  404: 'failed', redirect: 'failed', 'no JSON': 'failed', 'another type': 'failed', 'a misspelt member': 'failed', 'too much': 'failed',
};

let bad;
let good;
let server;
const sockets = [];
const open = async (path) => {
  const socket = io(`${server.http}${path}`, { transports: ['websocket'], forceNew: true });
  sockets.push(socket);
  return connected(socket);
};
const ask = (socket, ...args) => within(new Promise((resolve) => { socket.emit(...args, resolve); }), `the answer to ${args[0]}`);

before(async () => {
  bad = await backend((call, response) => {
    if (!call.event || !wrong[call.event]) return { ack: ['well'] };
    wrong[call.event](response);
    return undefined;
  });
  good = await backend((call) => ({ ack: call.args }));
  server = await serveWith([
    channel('bad', bad.port, { handler: 'timeout: 300ms' }),
    channel('good', good.port),
    channel('decides', 1, { handler: 'timeout: 100ms' }), // where nobody listens
    channel('narrow', bad.port, { handler: 'timeout: 300ms' }),
  ].join('\n'));
});
after(async () => {
  for (const s of sockets) s.close();
  await server.stop();
  bad.stop();
  good.stop();
});

test('each failure has its code, and the next event is handled', async () => {
  const socket = await open('/bad');
  for (const [name, code] of Object.entries(codes)) {
    assert.equal((await ask(socket, name)).error?.code, code, name);
    assert.equal(await ask(socket, 'anything'), 'well', `after ${name}`);
  }
  const told = event(socket, 'klaxon.error');
  socket.emit('404');
  assert.equal((await told)[0].code, 'failed');
});

test('other channels do not wait', async () => {
  const [waits, other] = [await open('/bad'), await open('/good')];
  const late = ask(waits, 'hang');
  assert.equal(await ask(other, 'echo', 1), 1);
  assert.equal((await late).error.code, 'unavailable');
});

test('a client cannot pile up more than may wait', async () => {
  const socket = await open('/narrow');
  const all = await Promise.all(Array.from({ length: 80 }, () => ask(socket, 'hang')));
  const busy = all.filter((a) => a.error.code === 'busy');
  assert.equal(busy.length, 80 - 65); // one is under way and 64 wait
});

test('where nobody decides nobody connects, and all come back when somebody does', async () => {
  const socket = io(`${server.http}/decides`, { transports: ['websocket'], forceNew: true, reconnectionDelay: 20 });
  sockets.push(socket);
  let attempts = 0;
  socket.io.on('reconnect_attempt', () => { attempts += 1; });
  await eventually('a second attempt', () => attempts > 1);
  assert.equal(socket.connected, false);
});

test('a backend that is restarted: every event is handled under one id, or its client knows', async () => {
  let restarted = await backend((call) => ({ ack: call.args }));
  const { port } = restarted;
  const own = await serveWith(channel('own', port, { spec: 'limits: {emitRate: 10000}' }));
  const socket = io(`${own.http}/own`, { transports: ['websocket'], forceNew: true });
  try {
    await connected(socket);
    const ids = new Map();
    const note = (b) => {
      for (const c of b.of('event')) {
        if (!ids.has(c.args[0])) ids.set(c.args[0], new Set());
        ids.get(c.args[0]).add(c.id);
      }
    };
    const answers = [];
    for (let i = 0; i < 300; i += 1) {
      answers.push(ask(socket, 'n', i));
      if (i % 100 === 50) {
        restarted.stop();
        note(restarted);
        restarted = await backend((call) => ({ ack: call.args }), port);
      }
      if (i % 10 === 0) await answers.at(-1);
    }
    const said = await Promise.all(answers);
    note(restarted);
    said.forEach((answer, i) => {
      if (answer?.error) {
        assert.ok(['unavailable', 'busy'].includes(answer.error.code), answer.error.code);
      } else {
        assert.equal(answer, i);
        assert.equal(ids.get(i)?.size, 1, `${i} was handled under ${ids.get(i)?.size} ids`);
      }
    });
    assert.ok(said.filter((a) => !a?.error).length > 200);
    for (const [n, of] of ids) assert.equal(of.size, 1, `${n}`);
  } finally {
    socket.close();
    await own.stop();
    restarted.stop();
  }
});
