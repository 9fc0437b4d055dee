// An Engine.IO client that does what it is told, also what no client should.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { http } from './server.js';
import { Inbox, within } from './wait.js';

export const separator = '\x1e';

// path is where Engine.IO is spoken; a parameter that is undefined is left out.
export function path(query) {
  const all = Object.entries({ EIO: 4, ...query }).filter(([, v]) => v !== undefined);
  return `/socket.io/?${new URLSearchParams(all)}`;
}

// open reads an open packet.
export function open(packet) {
  assert.equal(packet[0], '0', `${packet} is no open packet`);
  return JSON.parse(packet.slice(1));
}

// Polling is a session that polls.
export class Polling {
  constructor(server, hello) {
    Object.assign(this, { server, hello, sid: hello.sid, packets: [] });
  }

  static async open(server, options) {
    const answer = await within(http(server.http + path({ transport: 'polling' }), options), 'the handshake');
    assert.equal(answer.status, 200, answer.body);
    return new Polling(server, open(answer.body));
  }

  // connected is a session that has joined a namespace.
  static async connected(server, namespace = '/', auth = undefined) {
    const p = await Polling.open(server);
    const nsp = namespace === '/' ? '' : `${namespace},`;
    await p.push(`40${nsp}${auth ? JSON.stringify(auth) : ''}`);
    const answer = await p.next();
    assert.ok(answer.startsWith(`40${nsp}{`), answer);
    p.session = JSON.parse(answer.slice(2 + nsp.length)).sid;
    return p;
  }

  // listen polls from now on, for as long as the session lives. next must not be
  // used any more: what comes waits in the Inbox that is returned.
  listen() {
    const inbox = new Inbox();
    (async () => { for (;;) inbox.put(await this.next()); })().catch((error) => inbox.end(error));
    return inbox;
  }

  get url() { return this.server.http + path({ transport: 'polling', sid: this.sid }); }

  get(options) { return within(http(this.url, options), 'the answer to a GET'); }

  post(body, options = {}) {
    const headers = { 'content-type': 'text/plain;charset=UTF-8', ...options.headers };
    return within(http(this.url, { method: 'POST', body, ...options, headers }), 'the answer to a POST');
  }

  // push sends packets that must be taken.
  async push(...packets) {
    const answer = await this.post(packets.join(separator));
    assert.deepEqual([answer.status, answer.body], [200, 'ok']);
  }

  // poll fetches packets, at least one.
  async poll() {
    const answer = await this.get();
    assert.equal(answer.status, 200, answer.body);
    return answer.body.split(separator);
  }

  // next returns the next packet of interest: heartbeats are answered, and nothing
  // but more of the session is waited for.
  async next() {
    while (!this.packets.length) {
      for (const packet of await this.poll()) {
        if (packet === '2') await this.push('3'); else if (packet !== '6') this.packets.push(packet);
      }
    }
    return this.packets.shift();
  }

  // assertOpen fails when the session has ended.
  async assertOpen() { await this.push('3'); }

  // assertClosed fails when the session has not ended.
  async assertClosed() {
    const { status, body } = await this.get();
    assert.equal(status, 400);
    assert.deepEqual(JSON.parse(body), { code: 1, message: 'Session ID unknown' });
  }
}

// webSocket opens a WebSocket that keeps what comes: text as strings, binary as
// Buffers. Heartbeats are answered, unless pongs says otherwise.
export function webSocket(server, query = {}, { pongs = true, ...options } = {}) {
  const ws = new WebSocket(`ws://${server.host}${path({ transport: 'websocket', ...query })}`, options);
  const inbox = new Inbox();
  ws.on('message', (data, isBinary) => {
    const packet = isBinary ? data : data.toString();
    if (packet === '2' && pongs) ws.send('3'); else inbox.put(packet);
  });
  const ended = new Promise((resolve) => {
    ws.on('close', (code, reason) => {
      resolve({ code, reason: reason.toString() });
      inbox.end(new Error(`closed with ${code} ${reason}`));
    });
  });
  ws.on('error', () => {}); // a close follows
  ws.opened = new Promise((resolve, reject) => {
    ws.once('open', resolve);
    ws.once('unexpected-response', (request, response) => {
      reject(new Error(`refused with ${response.statusCode}`));
      request.destroy();
    });
  });
  ws.opened.catch(() => {}); // not everybody looks
  ws.next = (what = 'packet', ms) => inbox.next(what, ms);
  ws.rest = () => inbox.rest();
  ws.ended = (what = 'the close of a WebSocket', ms) => within(ended, what, ms);
  return ws;
}

// webSocketSession is a session that has joined a namespace by WebSocket alone.
export async function webSocketSession(server, namespace = '/', auth = undefined, options = {}) {
  const ws = webSocket(server, {}, options);
  ws.hello = open(await ws.next('open packet'));
  const nsp = namespace === '/' ? '' : `${namespace},`;
  ws.send(`40${nsp}${auth ? JSON.stringify(auth) : ''}`);
  const answer = await ws.next('answer to CONNECT');
  assert.ok(answer.startsWith(`40${nsp}{`), answer);
  ws.session = JSON.parse(answer.slice(2 + nsp.length)).sid;
  return ws;
}

// refused returns the status that a WebSocket handshake is refused with, and the body.
export function refused(server, query, options = {}) {
  return within(new Promise((resolve, reject) => {
    const ws = new WebSocket(query.startsWith?.('ws:') ? query : `ws://${server.host}${path(query)}`, options);
    ws.once('open', () => { ws.terminate(); reject(new Error('the WebSocket was not refused')); });
    ws.on('error', reject);
    ws.once('unexpected-response', (_, response) => {
      const parts = [];
      response.on('data', (b) => parts.push(b));
      response.on('end', () => resolve({ status: response.statusCode, body: Buffer.concat(parts).toString() }));
    });
  }), 'a WebSocket to be refused');
}
