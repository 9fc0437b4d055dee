// A real browser with nothing but new WebSocket(url) and onmessage.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
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
      '--disable-component-update', '--disable-sync'],
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
