// A real browser: WebSocket and EventSource as it has them, and the bundle of
// socket.io-client that web pages load.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { start, token } from './server.js';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
let server;
let browser;
let page;

before(async () => {
  assert.ok(existsSync(executablePath), `no browser at ${executablePath}: install Debian's chromium, or set CHROMIUM`);
  server = await start();
  browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      // Pages of the tests' own making have no address, so they would count as the internet's.
      '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests'],
  });
  page = await browser.newPage();
  await page.goto(`${server.http}/`); // any page of this host: its origin is the server's own
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

// listen opens a socket in the page; what comes is kept there.
const listen = (url, protocols) => page.evaluate(([url, protocols]) => new Promise((resolve, reject) => {
  window.got = [];
  window.ended = new Promise((done) => {
    window.socket = new WebSocket(url, protocols);
    window.socket.onclose = (e) => { done({ code: e.code, reason: e.reason }); reject(new Error(`closed ${e.code}`)); };
  });
  window.socket.onmessage = (m) => { window.got.push(JSON.parse(m.data)); resolve(window.got[0]); };
}), [url, protocols]);

test('onmessage is enough to receive', async () => {
  assert.equal((await listen(server.ws('public'), [])).type, 'welcome');
  await server.publish('public', { event: 'hello', data: { n: 1 } });
  await page.waitForFunction(() => window.got.length === 2);
  const [, event] = await page.evaluate(() => window.got);
  assert.equal(event.event, 'hello');
  assert.deepEqual(event.data, { n: 1 });
});

test('a token goes through the subprotocol', async () => {
  const welcome = await listen(server.ws('private?room=r'), ['klaxon.v1.json', `bearer.${token('ann', ['*'])}`]);
  assert.equal(welcome.user, 'ann');
  assert.deepEqual(welcome.rooms, ['r']);
});

test('the page learns why it may not connect', async () => {
  await assert.rejects(listen(server.ws('private'), []), /closed 4001/);
  const { reason } = await page.evaluate(() => window.ended);
  assert.match(reason, /token/);
  await assert.rejects(listen(server.ws('nowhere'), []), /closed 4004/);
});

test('a page of another origin may not connect', async () => {
  const other = await browser.newPage();
  await other.goto('data:text/html,elsewhere');
  const code = await other.evaluate((url) => new Promise((resolve) => {
    new WebSocket(url).onclose = (e) => resolve(e.code);
  }), server.ws('public'));
  assert.equal(code, 1006);
  await other.close();
});

// stream opens an EventSource in the page.
const stream = (page, url) => page.evaluate((url) => new Promise((resolve, reject) => {
  window.events = [];
  window.source = new EventSource(url);
  window.source.addEventListener('klaxon.welcome', (e) => resolve(JSON.parse(e.data)));
  window.source.addEventListener('hello', (e) => window.events.push({ data: JSON.parse(e.data), id: e.lastEventId }));
  window.source.onerror = () => reject(new Error(`readyState ${window.source.readyState}`));
}), url);

test('an EventSource receives, with a token in its URL', async () => {
  const welcome = await stream(page, server.sse(`private?room=r&token=${token('ann', ['*'])}`));
  assert.equal(welcome.user, 'ann');
  assert.deepEqual(welcome.rooms, ['r']);
  const { offset } = await server.publish('private', { event: 'hello', data: 'ä', rooms: ['r'] });
  await page.waitForFunction(() => window.events.length === 1);
  assert.deepEqual(await page.evaluate(() => window.events), [{ data: 'ä', id: offset }]);
  await page.evaluate(() => window.source.close());
});

test('an EventSource that is refused for good stays closed', async () => {
  await assert.rejects(stream(page, server.sse('private')), /readyState 2/);
});

const bundle = fileURLToPath(new URL('node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url));

// socket connects the page's Socket.IO client, by its own defaults: polling that upgrades.
const socket = async (page, url, options = {}) => {
  await page.addScriptTag({ path: bundle });
  return page.evaluate(([url, options]) => new Promise((resolve, reject) => {
    window.got = [];
    const s = io(url, { forceNew: true, ...options });
    window.socket = s;
    s.on('hello', (data) => window.got.push(data));
    s.on('connect_error', (e) => reject(new Error(`connect_error: ${e.message}`)));
    const upgraded = () => resolve(s.io.engine.transport.name);
    s.on('connect', () => (s.io.engine.transport.name === 'websocket' ? upgraded() : s.io.engine.once('upgrade', upgraded)));
  }), [url, options]);
};

test('the bundle of socket.io-client receives, and upgrades', async () => {
  const page = await browser.newPage();
  await page.goto(`${server.http}/`);
  assert.equal(await socket(page, `${server.http}/`), 'websocket');
  await server.publish('public', { event: 'hello', data: { n: [1, null] } });
  await server.publish('public', { event: 'hello', dataBase64: 'AP8=' });
  await page.waitForFunction(() => window.got.length === 2);
  const got = await page.evaluate(() => window.got.map((d) => (d instanceof ArrayBuffer ? [...new Uint8Array(d)] : d)));
  assert.deepEqual(got, [{ n: [1, null] }, [0, 255]]);
  const joined = await page.evaluate(() => window.socket.emitWithAck('join', 'a'));
  assert.deepEqual(joined.rooms, ['a']);
  await page.close();
});

test('a token in a cookie that pages cannot read, and rules for what it says', async () => {
  const context = await browser.newContext();
  await context.addCookies([{ name: 'push', value: token('ann', []), url: server.http, httpOnly: true, sameSite: 'Strict' }]);
  const page = await context.newPage();
  await page.goto(`${server.http}/`);
  assert.equal(await page.evaluate(() => document.cookie), '');
  const welcome = await page.evaluate((url) => new Promise((resolve, reject) => {
    const s = new WebSocket(url);
    s.onmessage = (m) => resolve(JSON.parse(m.data));
    s.onclose = (e) => reject(new Error(`closed ${e.code}`));
  }), server.ws('cookied?room=user:ann'));
  assert.equal(welcome.user, 'ann');
  assert.deepEqual(welcome.rooms, ['user:ann']);
  assert.equal((await stream(page, server.sse('cookied'))).user, 'ann');
  assert.equal(await socket(page, `${server.http}/cookied`), 'websocket');
  const joined = await page.evaluate(() => window.socket.emitWithAck('join', ['user:ann', 'user:bob']));
  assert.deepEqual(joined.rooms, ['user:ann']);
  assert.deepEqual(joined.error.rooms, ['user:bob']);
  await context.close();

  const stranger = await browser.newPage();
  await stranger.goto(`${server.http}/`);
  await assert.rejects(stream(stranger, server.sse('cookied')), /readyState 2/);
  await stranger.close();
});

test('a token is the first message', async () => {
  const welcome = await page.evaluate(([url, token]) => new Promise((resolve, reject) => {
    const s = new WebSocket(url);
    s.onopen = () => s.send(JSON.stringify({ type: 'auth', token }));
    s.onmessage = (m) => resolve(JSON.parse(m.data));
    s.onclose = (e) => reject(new Error(`closed ${e.code}`));
  }), [server.ws('private?auth=message&room=r'), token('ann', ['*'])]);
  assert.equal(welcome.user, 'ann');
  assert.deepEqual(welcome.rooms, ['r']);
});

test('pages of other origins: allowed by the Channel, or not', async () => {
  const other = await browser.newPage();
  await other.route('http://app.example/**', (route) => route.fulfill({ contentType: 'text/html', body: '<p>a shop' }));
  await other.goto('http://app.example/');
  assert.equal(await socket(other, `${server.http}/shop`, { withCredentials: true }), 'websocket');
  await server.publish('shop', { event: 'hello', data: 1 });
  await other.waitForFunction(() => window.got.length === 1);
  assert.equal((await stream(other, server.sse('shop'))).channel, 'shop');
  // Its origin is one of the Pusher's, so the handshake passes; the Channel says no.
  await assert.rejects(socket(other, `${server.http}/`), /pages of this origin may not connect/);
  await assert.rejects(stream(other, server.sse('public')), /readyState 2/);

  await other.route('http://evil.example/**', (route) => route.fulfill({ contentType: 'text/html', body: '<p>another' }));
  await other.goto('http://evil.example/');
  await assert.rejects(socket(other, `${server.http}/shop`), /xhr poll error/);
  await assert.rejects(socket(other, `${server.http}/shop`, { transports: ['websocket'] }), /websocket error/);
  await other.close();
});

test('compressed messages are what they were', async () => {
  const data = { text: 'to and fro '.repeat(200) };
  await listen(server.ws('packed'), []);
  assert.match(await page.evaluate(() => window.socket.extensions), /permessage-deflate/);
  await server.publish('packed', { event: 'hello', data });
  await page.waitForFunction(() => window.got.length === 2);
  assert.deepEqual((await page.evaluate(() => window.got))[1].data, data);
});
