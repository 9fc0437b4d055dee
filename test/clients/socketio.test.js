// socket.io-client as npm has it, by each of its transports.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import { io as newest } from 'socket.io-client';
import { io as older } from 'socket.io-client-4.4';
import oldest from 'socket.io-client-2';
import WebSocket from 'ws';
import { start, token } from './server.js';
import { connected, event, eventually, Inbox, within } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

const sockets = [];
after(() => { for (const s of sockets) s.close(); });

// told keeps events of a name.
function told(socket, name) {
  const inbox = new Inbox();
  socket.on(name, (...args) => inbox.put(args));
  return inbox;
}

for (const [version, io] of [['4.8', newest], ['4.4', older]]) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    describe(`socket.io-client ${version} by ${transports.join(', then ')}`, () => {
      const open = (path, options = {}) => {
        const socket = io(`${server.http}${path}`, { transports, forceNew: true, ...options });
        sockets.push(socket);
        return socket;
      };

      test('events come in order, with their data as it was', async () => {
        const socket = await connected(open('/'));
        assert.match(socket.id, /^[A-Z2-7]{26}$/);
        const inbox = told(socket, 'e');
        const all = [null, 0, 'ä\u2028😀', { a: [null, { b: '' }] }, [], 'x'.repeat(60_000)];
        for (const data of all) await server.publish('public', { event: 'e', data });
        assert.deepEqual(await inbox.take(all.length, 'event'), all.map((d) => [d]));
      });

      test('bytes come as bytes', async () => {
        const socket = await connected(open('/'));
        const inbox = told(socket, 'bytes');
        await server.publish('public', { event: 'bytes', dataBase64: 'AP8eCg==' });
        await server.publish('public', { event: 'bytes', dataBase64: '' });
        assert.deepEqual(await inbox.take(2, 'event'), [[Buffer.from([0, 255, 30, 10])], [Buffer.alloc(0)]]);
      });

      test('clients publish to each other where a rule lets them', async () => {
        const ann = await connected(open('/cookied', { auth: { token: token('ann', []), rooms: ['all'] } }));
        const bob = await connected(open('/cookied', { auth: { token: token('bob', []), rooms: ['all'] } }));
        const own = told(ann, 'typing');
        const inbox = told(bob, 'typing');
        const publish = (what) => within(new Promise((resolve) => { ann.emit('publish', what, resolve); }), 'the answer to publish');
        const ack = await publish({ event: 'typing', rooms: ['all'], data: { at: 1 } });
        assert.equal(typeof ack.id, 'string');
        assert.equal(typeof ack.offset, 'string');
        assert.deepEqual(await inbox.take(1, 'event'), [[{ user: 'ann', data: { at: 1 } }]]);
        assert.equal((await publish({ event: 'typing', rooms: ['user:bob'] })).error.code, 'forbidden');
        assert.equal((await publish({ event: 'delete', rooms: ['all'] })).error.code, 'forbidden');
        assert.equal((await publish({ event: 'typing', rooms: ['all'], data: Buffer.from([1]) })).error.code, 'bad_message');
        bob.emit('publish', { event: 'typing', rooms: ['all'] });
        assert.deepEqual(await own.take(1, 'event'), [[{ user: 'bob' }]]);
      });

      test('rooms, tokens and acknowledgements', async () => {
        const socket = await connected(open('/private', { auth: { token: token('ann', ['a', 'b']), rooms: ['a'] } }));
        const emit = (...args) => within(new Promise((resolve) => { socket.emit(...args, resolve); }), `the answer to ${args[0]}`);
        const inbox = told(socket, 'e');
        const joined = await emit('join', ['b', 'c']);
        assert.deepEqual(joined.rooms, ['a', 'b']);
        assert.equal(typeof joined.offset, 'string');
        assert.equal(joined.error.code, 'forbidden');
        assert.deepEqual(joined.error.rooms, ['c']);
        await server.publish('private', [{ event: 'e', data: 1, rooms: ['c'] }, { event: 'e', data: 2, rooms: ['a', 'b'] }]);
        assert.deepEqual(await inbox.next('event'), [2]);
        assert.deepEqual((await emit('leave', 'b')).rooms, ['a']);
        assert.deepEqual((await emit('auth', { token: token('ann', ['b']) })).rooms ?? [], []);
        assert.equal((await emit('auth', { token: token('bob', ['b']) })).error.code, 'token');
        assert.equal((await emit('shout', 1)).error.code, 'not_handled');
        const refused = told(socket, 'klaxon.error');
        socket.emit('shout', 1);
        assert.equal((await refused.next('klaxon.error'))[0].code, 'not_handled');
        await server.publish('private', [{ event: 'e', data: 3, rooms: ['b'] }, { event: 'e', data: 4, users: ['ann'] }]);
        assert.deepEqual(await inbox.next('event'), [4]);
        await server.publish('private', { event: 'e', data: 5, sessions: [socket.id] });
        assert.deepEqual(await inbox.next('event'), [5]);
      });

      test('refusals say why, and leave others alone', async () => {
        const good = await connected(open('/'));
        const inbox = told(good, 'still');
        for (const [path, auth, message, code] of [
          ['/private', undefined, /needs a token/, 'token'],
          ['/private', { token: 'x' }, /not a JWT/, 'token'],
          ['/private', { token: token('ann', [], -3600) }, /expired/, 'token'],
          ['/private', { token: 7 }, /auth is an object/, 'bad_request'],
          ['/private', { token: token('ann', ['*']), rooms: [''] }, /room's name/, 'bad_request'],
          ['/nowhere', undefined, /^Invalid namespace$/, undefined],
        ]) {
          const socket = open(path, { auth });
          const [error] = await event(socket, 'connect_error');
          assert.match(error.message, message);
          assert.equal(error.data?.code, code);
          socket.close();
        }
        await server.publish('public', { event: 'still', data: 1 });
        await inbox.next('event');
      });

      test('namespaces share a connection, and end one by one', async () => {
        const lobby = await connected(open('/'));
        const packed = lobby.io.socket('/packed');
        await connected(packed);
        assert.notEqual(packed.id, lobby.id);
        const [inLobby, inPacked] = [told(lobby, 'e'), told(packed, 'e')];
        const data = 'again and '.repeat(100);
        await server.publish('packed', { event: 'e', data });
        await server.publish('public', { event: 'e', data });
        assert.deepEqual(await inPacked.next('event'), [data]);
        assert.deepEqual(await inLobby.next('event'), [data]);
        const why = told(packed, 'klaxon.disconnect');
        const ended = event(packed, 'disconnect');
        await server.disconnect('packed', packed.id);
        assert.equal((await why.next('klaxon.disconnect'))[0].code, 4010);
        assert.equal((await ended)[0], 'io server disconnect');
        await server.publish('packed', { event: 'e', data: 'nobody' });
        await server.publish('public', { event: 'e', data: 'lobby' });
        assert.deepEqual(await inLobby.next('event'), ['lobby']);
        assert.equal(inPacked.rest().length, 0);
        packed.connect(); // the program may
        await connected(packed);
        packed.disconnect();
        await eventually('the session to end', async () => (await server.sessions('packed')).every((s) => s.id !== packed.id));
        assert.equal(lobby.connected, true);
      });

      test('the same events in the same order as everybody else, also in the middle of an upgrade', async () => {
        const plain = new Inbox();
        const ws = new WebSocket(server.ws('recovering'));
        ws.on('message', (b) => plain.put(JSON.parse(b)));
        assert.equal((await plain.next('welcome')).type, 'welcome');
        const stream = new Inbox();
        const source = new EventSource(server.sse('recovering'));
        source.addEventListener('order', (e) => stream.put({ n: JSON.parse(e.data), id: e.lastEventId }));
        await event({ once: (name, f) => source.addEventListener(name, f, { once: true }) }, 'klaxon.welcome');
        const socket = open('/recovering');
        const inbox = told(socket, 'order');
        await event(socket, 'connect'); // and not yet by the last of its transports
        const sent = [];
        for (let n = 0; n < 300; n++) sent.push({ n, id: (await server.publish('recovering', { event: 'order', data: n })).offset });
        assert.deepEqual((await plain.take(300, 'plain event')).map((m) => ({ n: m.data, id: m.id })), sent);
        assert.deepEqual(await stream.take(300, 'stream event'), sent);
        assert.deepEqual((await inbox.take(300, 'Socket.IO event')).map(([n, id]) => ({ n, id })), sent);
        await connected(socket);
        ws.terminate();
        source.close();
      });
    });
  }
}

test('clients of version 2 are told that their protocol is not spoken', async () => {
  const socket = oldest(`${server.http}/`, { transports: ['polling'], forceNew: true, reconnection: false });
  const [error] = await event(socket, 'connect_error');
  assert.equal(error.description, 400);
  assert.match(JSON.stringify(error.context ?? error.message), /xhr poll error|Unsupported/);
  socket.close();
});
