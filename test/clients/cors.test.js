// Pages of other origins, as a browser asks on their behalf (WHATWG Fetch, section
// 3.2): for polling, which is HTTP, and for WebSockets, which no preflight guards.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Polling, path, refused, webSocket } from './engine.js';
import { http, start } from './server.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

const good = 'https://www.shop.example'; // of one of the Channels
const bad = 'https://evil.example';

// shares reports whether a page of the origin may read an answer. Nobody else's
// pages may, and no cache may mix the answers up.
function shares(answer, origin) {
  const h = answer.headers;
  assert.match(h.vary ?? '', /\borigin\b/i);
  const allowed = h['access-control-allow-origin'];
  if (allowed === undefined) {
    assert.equal(h['access-control-allow-credentials'], undefined);
    return false;
  }
  assert.equal(allowed, origin);
  assert.equal(h['access-control-allow-credentials'], 'true');
  return true;
}

const list = (header) => (header ?? '').split(',').map((s) => s.trim().toLowerCase());

describe('preflight', () => {
  const ask = (origin, method, asked, query = { transport: 'polling' }) => http(server.http + path(query), {
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': method, ...(asked && { 'Access-Control-Request-Headers': asked }) },
  });

  test('of an allowed origin', async () => {
    for (const method of ['GET', 'POST']) {
      const answer = await ask(good, method, 'authorization,content-type,x-own');
      assert.equal(answer.status, 204);
      assert.ok(shares(answer, good));
      assert.ok(list(answer.headers['access-control-allow-methods']).includes(method.toLowerCase()));
      // Never "*": it does not count with credentials.
      assert.deepEqual(list(answer.headers['access-control-allow-headers']), ['authorization', 'content-type', 'x-own']);
      assert.equal(answer.body, '');
    }
  });

  test('for a session, and for one that is not', async () => {
    const p = await Polling.open(server, { headers: { Origin: good } });
    for (const sid of [p.sid, 'unknown']) {
      const answer = await ask(good, 'POST', undefined, { transport: 'polling', sid });
      assert.equal(answer.status, 204);
      assert.ok(shares(answer, good));
    }
    await p.assertOpen();
  });

  test('of another origin', async () => {
    const answer = await ask(bad, 'POST', 'content-type');
    assert.equal(answer.status, 403);
    assert.equal(shares(answer, bad), false);
    assert.equal(answer.headers['access-control-allow-methods'], undefined);
  });

  test('of no origin, and of the opaque one', async () => {
    assert.equal((await ask('null', 'GET')).status, 403);
  });
});

describe('polling', () => {
  const ask = (origin, query, options = {}) => http(server.http + path({ transport: 'polling', ...query }),
    { ...options, headers: { Origin: origin, ...options.headers } });

  test('an allowed origin reads all that is said to it', async () => {
    const hello = await ask(good);
    assert.equal(hello.status, 200);
    assert.ok(shares(hello, good));
    const { sid } = JSON.parse(hello.body.slice(1));
    const post = await ask(good, { sid }, { method: 'POST', body: '40/shop,' });
    assert.equal(post.status, 200);
    assert.ok(shares(post, good));
    const get = await ask(good, { sid });
    assert.match(get.body, /^40\/shop,\{/);
    assert.ok(shares(get, good));
  });

  test('errors too, so that the page can tell what is wrong', async () => {
    for (const [query, options, status] of [
      [{ EIO: 3 }, {}, 400], [{ transport: 'x' }, {}, 400], [{ sid: 'unknown' }, {}, 400], [{}, { method: 'POST', body: '40' }, 400],
    ]) {
      const answer = await ask(good, query, options);
      assert.equal(answer.status, status);
      assert.ok(shares(answer, good), JSON.stringify(query));
    }
    const p = await Polling.open(server);
    const large = await ask(good, { sid: p.sid }, { method: 'POST', body: 'x'.repeat(200_000) });
    assert.equal(large.status, 413);
    assert.ok(shares(large, good));
  });

  test('another origin is refused, whatever it asks for', async () => {
    const p = await Polling.open(server);
    for (const [query, options] of [[{}, {}], [{ sid: p.sid }, {}], [{ sid: p.sid }, { method: 'POST', body: '41' }]]) {
      const answer = await ask(bad, query, options);
      assert.equal(answer.status, 403);
      assert.equal(JSON.parse(answer.body).code, 4);
      assert.equal(shares(answer, bad), false);
    }
    await p.assertOpen();
  });

  test('origins that only look like an allowed one', async () => {
    for (const origin of ['http://www.shop.example', 'https://shop.example', 'https://www.shop.example.evil.example', 'https://www.shop.example:8443',
      'https://evilshop.example', 'https://evil.example/.shop.example', 'https://evil.example#.shop.example', 'https://a b.shop.example', 'null', 'www.shop.example', '*']) {
      const answer = await ask(origin);
      assert.equal(answer.status, 403, origin);
      assert.equal(shares(answer, origin), false);
    }
  });

  test('the page of the very host is no stranger', async () => {
    const answer = await ask(server.http);
    assert.equal(answer.status, 200);
    assert.ok(shares(answer, server.http));
  });

  test('who sends no Origin is no browser', async () => {
    const answer = await http(server.http + path({ transport: 'polling' }));
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
  });
});

describe('WebSocket', () => {
  const upgrade = (origin) => webSocket(server, { transport: 'websocket' }, { origin });

  test('an allowed origin', async () => {
    const ws = upgrade(good);
    assert.match(await ws.next(), /^0\{/);
    ws.send('40/shop,');
    assert.match(await ws.next(), /^40\/shop,\{/);
    ws.terminate();
  });

  test('another Channel does not allow it', async () => {
    const ws = upgrade('http://app.example');
    await ws.next();
    ws.send('40');
    assert.match(await ws.next(), /^44\{"message":"[^"]*origin/);
    ws.terminate();
  });

  for (const origin of [bad, 'null']) {
    test(`${origin}`, async () => assert.equal((await refused(server, { transport: 'websocket' }, { origin })).status, 403));
  }
});
