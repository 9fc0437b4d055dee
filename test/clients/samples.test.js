// The chat of config/samples: its backend in each language, and its page in a browser.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { io } from 'socket.io-client';
import { serveWith } from './backend.js';
import { freePort } from './ports.js';
import { connected, eventually, Inbox, within } from './wait.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const samples = `${root}config/samples/`;
const backends = {
  go: ['go', 'run', './config/samples/handlers/go'],
  node: ['node', 'config/samples/handlers/chat.mjs'],
  python: ['python3', 'config/samples/handlers/chat.py'],
};
const signingKey = `whsec_${Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')}`;

// run starts a backend as its user would, and the Channel of the sample in front of it.
async function run(command, { env = {}, spec = (s) => s } = {}) {
  const port = await freePort();
  const child = spawn(command[0], command.slice(1), { cwd: root, detached: true, stdio: 'inherit', env: { ...process.env, PORT: port, ...env } });
  const gone = once(child, 'exit');
  await eventually(`${command.join(' ')} to listen`, () => new Promise((resolve) => {
    assert.equal(child.exitCode, null, 'it has ended');
    const probe = connect(port, '127.0.0.1', () => { probe.destroy(); resolve(true); }).on('error', () => resolve(false));
  }), 120_000); // go run compiles
  const manifest = await readFile(`${samples}channel-handlers.yaml`, 'utf8');
  const server = await serveWith(spec(manifest.replace('port: 8000', `port: ${port}`).replace('http://localhost:8000', '*')));
  return {
    server,
    async stop() {
      await server.stop();
      process.kill(-child.pid, 'SIGKILL'); // go run has a child of its own
      await gone;
    },
  };
}

function join(server, name) {
  const socket = io(server.http, { transports: ['websocket'], forceNew: true, query: { name } });
  const heard = new Inbox();
  socket.onAny((...args) => heard.put(args));
  return { socket, next: () => heard.next('an event'), heard };
}

for (const [language, command] of Object.entries(backends)) {
  test(`the chat in ${language}`, async () => {
    const chat = await run(command);
    const ann = join(chat.server, 'Ann');
    let bob;
    try {
      await connected(ann.socket);
      bob = join(chat.server, 'Bob');
      await connected(bob.socket);
      assert.deepEqual(await ann.next(), ['joined', 'Bob']);
      const delivered = within(new Promise((resolve) => { bob.socket.emit('chat message', 'hello, ä', resolve); }), 'the acknowledgement');
      assert.deepEqual(await ann.next(), ['chat message', 'Bob', 'hello, ä']);
      assert.deepEqual(await bob.next(), ['chat message', 'Bob', 'hello, ä']);
      assert.equal(await delivered, 'delivered');
      ann.socket.emit('typing');
      ann.socket.emit('stop typing');
      assert.deepEqual(await bob.next(), ['typing', 'Ann']);
      assert.deepEqual(await bob.next(), ['stop typing', 'Ann']);
      bob.socket.close();
      assert.deepEqual(await ann.next(), ['left', 'Bob']);
      assert.deepEqual([...ann.heard.rest(), ...bob.heard.rest()], []);
    } finally {
      ann.socket.close();
      bob?.socket.close();
      await chat.stop();
    }
  });
}

describe('signed calls', () => {
  for (const [what, key, ok] of [['of the right key', signingKey, true], ['of another', signingKey.replace('MDEy', 'MDEz'), false]]) {
    test(what, async () => {
      const secret = `
---
apiVersion: v1
kind: Secret
metadata: {name: signing, labels: {push.klaxon.dev/allow: "true"}}
stringData: {key: ${key}}
`;
      const chat = await run(backends.python, {
        env: { SIGNING_KEY: signingKey },
        spec: (s) => `${s.trimEnd()}\n    signingSecretRefs: [{name: signing, key: key}]\n${secret}`,
      });
      const { socket } = join(chat.server, 'Ann');
      try {
        const result = await within(new Promise((resolve) => {
          socket.on('connect', () => resolve(true));
          socket.io.on('reconnect_attempt', () => resolve(false));
        }), 'an answer');
        assert.equal(result, ok);
      } finally {
        socket.close();
        await chat.stop();
      }
    });
  }
});

test('the page, twice, in a browser', async () => {
  const chat = await run(backends.node);
  const files = { '/chat.html': `${samples}handlers/chat.html`, '/socket.io.min.js': fileURLToPath(new URL('node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url)) };
  const pages = createServer((request, response) => {
    const file = files[new URL(request.url, 'http://page').pathname];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': file.endsWith('.js') ? 'text/javascript' : 'text/html' });
    return createReadStream(file).pipe(response);
  }).listen(0, '127.0.0.1');
  await once(pages, 'listening');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests'],
  });
  try {
    const openPage = async (name) => {
      const page = await browser.newPage({ viewport: { width: 640, height: 400 } });
      await page.goto(`http://127.0.0.1:${pages.address().port}/chat.html?name=${name}&server=${encodeURIComponent(chat.server.http)}`);
      await page.waitForFunction('socket.connected');
      return page;
    };
    const ann = await openPage('Ann');
    const bob = await openPage('Bob');
    const text = (page, want) => page.waitForFunction((t) => document.querySelector('#messages').textContent.includes(t), want);
    await text(ann, 'Bob has joined');
    await ann.type('input', 'Hello, Bob');
    await bob.waitForFunction(() => document.querySelector('#typing').textContent === 'Ann is typing…');
    await ann.press('input', 'Enter');
    await Promise.all([text(ann, 'Ann: Hello, Bob'), text(bob, 'Ann: Hello, Bob')]);
    await bob.waitForFunction(() => document.querySelector('#typing').textContent.trim() === '');
    await bob.type('input', 'Hello');
    await bob.press('input', 'Enter');
    await text(ann, 'Bob: Hello');
    await bob.type('input', 'How');
    await ann.waitForFunction(() => document.querySelector('#typing').textContent === 'Bob is typing…');
    if (process.env.SCREENSHOT) await ann.screenshot({ path: process.env.SCREENSHOT });
    await bob.close();
    await text(ann, 'Bob has left');
  } finally {
    await browser.close();
    pages.close();
    await chat.stop();
  }
});
