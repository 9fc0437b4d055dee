// Server-Sent Events: npm's eventsource, and the bytes.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { http, start, token } from './server.js';
import { event, Inbox, within } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

// read asks for a stream and keeps its blocks.
async function read(path, headers = {}) {
  const blocks = new Inbox();
  const r = request(server.sse(path), { headers, agent: false });
  r.end();
  const [answer] = await event(r, 'response');
  let text = '';
  answer.setEncoding('utf8');
  answer.on('data', (s) => {
    text += s;
    for (let i; (i = text.indexOf('\n\n')) >= 0; text = text.slice(i + 2)) blocks.put(text.slice(0, i));
  });
  answer.on('end', () => blocks.end(new Error('the stream has ended')));
  answer.on('error', () => {});
  return { answer, blocks, close: () => r.destroy() };
}

test('headers that proxies and browsers need, and the welcome', async () => {
  const { answer, blocks, close } = await read('public?room=a&room=b');
  assert.equal(answer.statusCode, 200);
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  assert.match(answer.headers['cache-control'], /no-cache/);
  assert.equal(answer.headers['x-accel-buffering'], 'no');
  assert.equal(answer.headers.connection, 'close');
  const welcome = await blocks.next('welcome');
  assert.match(welcome, /^retry: \d+\nid: \S+\nevent: klaxon.welcome\ndata: \{.*\}$/);
  const said = JSON.parse(/data: (.*)/.exec(welcome)[1]);
  assert.deepEqual(said.rooms, ['a', 'b']);
  assert.equal(said.channel, 'public');
  assert.equal(said.heartbeat, 1000);
  assert.equal('recovered' in said, false);
  close();
});

test('events, as bytes too, and heartbeats that carry the position', async () => {
  const { blocks, close } = await read('public?room=a');
  await blocks.next('welcome');
  await server.publish('public', { event: 'not for this one', data: 1, rooms: ['b'] });
  const { offset } = await server.publish('public', { event: 'e', data: { text: 'ä\n\r\u2028' }, rooms: ['a'] });
  assert.equal(await blocks.next('event'), `id: ${offset}\nevent: e\ndata: ${JSON.stringify({ text: 'ä\n\r\u2028' })}`);
  const { offset: second } = await server.publish('public', { dataBase64: 'AP8=' });
  assert.equal(await blocks.next('event'), `id: ${second}\nevent: message\ndata: {"dataBase64":"AP8="}`);
  const { offset: third } = await server.publish('public', { event: 'no', data: 1, rooms: ['b'] });
  assert.equal(await blocks.next('heartbeat'), `:\nid: ${third}`);
  close();
});

test('npm\'s eventsource: ids, names, a token in a header', async () => {
  const headers = { Authorization: `Bearer ${token('ann', ['r*'])}` };
  const source = new EventSource(server.sse('private?room=r1&room=s'), {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
  });
  const inbox = new Inbox();
  for (const name of ['klaxon.welcome', 'klaxon.error', 'named', 'message']) {
    source.addEventListener(name, (e) => inbox.put([name, JSON.parse(e.data), e.lastEventId]));
  }
  const [, welcome] = await inbox.next('welcome');
  assert.equal(welcome.user, 'ann');
  assert.deepEqual(welcome.rooms, ['r1']);
  const [name, error] = await inbox.next('error');
  assert.equal(name, 'klaxon.error');
  assert.equal(error.code, 'forbidden');
  assert.deepEqual(error.rooms, ['s']);
  for (const what of ['named', 'message']) {
    const { offset } = await server.publish('private', { event: what, data: [1], users: ['ann'] });
    assert.deepEqual(await inbox.next(what), [what, [1], offset]);
  }
  source.close();
});

test('a client that says where it was is told whether that is made up for', async () => {
  for (const [path, headers] of [['public?lastEventId=x.1', {}], ['public', { 'Last-Event-ID': 'x.1' }]]) {
    const { blocks, close } = await read(path, headers);
    assert.equal(JSON.parse(/data: (.*)/.exec(await blocks.next('welcome'))[1]).recovered, false);
    close();
  }
});

test('what is refused for good has a status', async () => {
  for (const [path, status] of [
    ['private', 401], ['private?token=x', 401], [`private?token=${token('ann', [], -3600)}`, 401], ['nowhere', 404], ['public?room=', 400],
  ]) {
    const answer = await http(server.sse(path));
    assert.equal(answer.status, status, path);
    assert.equal(answer.headers['content-type'], 'application/problem+json');
    assert.ok(JSON.parse(answer.body).detail);
  }
});

test('what passes is answered with a time to come back', async () => {
  const first = await read('tiny');
  await first.blocks.next('welcome');
  const full = await http(server.sse('tiny'));
  assert.equal(full.status, 200);
  assert.equal(full.headers['content-type'], 'text/event-stream');
  assert.match(full.body, /^retry: \d{4,}\n\n$/);
  first.close();
});

test('a stream ends with its token', async () => {
  const { blocks, close } = await read(`private?token=${token('ann', [], -28.5)}`); // 30 s of skew are allowed
  await blocks.next('welcome');
  await assert.rejects(async () => { for (;;) await blocks.next('block'); }, /has ended/);
  close();
});

test('pages of allowed origins, and of others', async () => {
  const Origin = 'https://www.shop.example';
  const good = await read('shop', { Origin });
  for (const answer of [good.answer, await http(server.sse('shop?room='), { headers: { Origin } })]) {
    assert.equal(answer.headers['access-control-allow-origin'], Origin);
    assert.equal(answer.headers['access-control-allow-credentials'], 'true');
    assert.equal(answer.headers.vary, 'Origin');
  }
  good.close();
  const bad = await http(server.sse('shop'), { headers: { Origin: 'https://evil.example' } });
  assert.equal(bad.status, 403);
  assert.equal(bad.headers['access-control-allow-origin'], undefined);
});

test('HEAD is answered without a stream', async () => {
  const answer = await within(http(server.sse('public'), { method: 'HEAD' }), 'an answer');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  const sessions = await server.sessions('public');
  assert.equal(sessions.filter((s) => s.protocol === 'sse').length, 0);
});
