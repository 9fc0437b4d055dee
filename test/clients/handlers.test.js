// The everyday use of a Socket.IO server, with handlers instead: npm's clients by each of
// their transports, and plain ones.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import { io as newest } from 'socket.io-client';
import { io as older } from 'socket.io-client-4.4';
import WebSocket from 'ws';
import { backend, channel, serveWith } from './backend.js';
import { connected, event, eventually, Inbox, within } from './wait.js';

const placeholder = (num) => ({ _placeholder: true, num });

// reply is the application.
function reply(call) {
  if (call.type.endsWith('.connected')) {
    const as = call.query.as?.[0];
    if (as === 'nobody') return { refuse: { message: 'not you', data: { why: [1] } } };
    return {
      user: as ?? 'somebody', join: ['hall'], data: { visits: 1 },
      emit: [{ event: 'state', args: [{ n: 1 }, 'x'] }, { event: 'came', args: [as], to: 'others' }],
    };
  }
  if (call.type.endsWith('.acknowledged')) {
    return { emit: [{ event: 'heard', args: [call.ref, call.error ?? 'in time', ...call.args], attachments: call.attachments }] };
  }
  const { args } = call;
  switch (call.event) {
    case 'echo': // as text, so that it is what came to the byte
      return `{"ack":{"args":${/"args":(\[.*\]),"a(?:ck|ttachments)"/s.exec(call.raw_)[1]},"attachments":${JSON.stringify(call.attachments ?? [])}}}`;
    case 'ask me':
      return { emit: [{ event: 'question', args: ['?', placeholder(0)], attachments: ['AAEC'], ack: { ref: 'q', timeout: 60_000 } }] };
    case 'ask who is silent':
      return { emit: [{ event: 'silence', ack: { ref: 'silent', timeout: 1 } }] };
    case 'enter': return { ack: [], join: [args[0]] };
    case 'exit': return { ack: [], leave: [args[0]] };
    case 'to the room': return { ack: [], emit: [{ event: 'roomy', args: args.slice(1), rooms: [args[0]], to: 'others' }] };
    case 'to all': return { ack: [], emit: [{ event: 'loud', args, attachments: call.attachments, to: 'all' }] };
    case 'visits': return { ack: [call.data.visits], data: { visits: call.data.visits + 1 } };
    case 'who am I': return { ack: [call.user, call.rooms] };
    case 'throw me out': return { disconnect: true };
  }
  return {};
}

let handler;
let server;
const sockets = [];
before(async () => {
  handler = await backend(reply);
  server = await serveWith([
    channel('app', handler.port, { spec: 'history: {size: 1000}' }),
    channel('back', handler.port, { spec: 'socketIO: {recovery: true}' }),
  ].join('\n'));
});
after(async () => {
  for (const s of sockets) s.close();
  await server.stop();
  handler.stop();
});

// told keeps events of a name.
function told(socket, name) {
  const inbox = new Inbox();
  socket.on(name, (...args) => inbox.put(args));
  return inbox;
}
const ask = (socket, ...args) => within(new Promise((resolve) => { socket.emit(...args, resolve); }), `the answer to ${args[0]}`);
const asks = (socket, ...args) => within(new Promise((resolve) => { socket.emit(...args, (...all) => resolve(all)); }), `the answer to ${args[0]}`);

for (const [version, io] of [['4.8', newest], ['4.4', older]]) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    describe(`socket.io-client ${version} by ${transports.join(', then ')}`, () => {
      let n = 0;
      const open = (options = {}, path = '/app') => {
        const socket = io(`${server.http}${path}`, { transports, forceNew: true, query: { as: `user ${n += 1}` }, ...options });
        sockets.push(socket);
        return socket;
      };

      test('arguments and bytes go and come back as they were', async () => {
        const socket = await connected(open());
        for (const args of [[], [1], [null, 'ä\u2028<&>', 1.5, [{ z: 1, a: { b: [] } }]], [Buffer.from([0, 255])],
          [{ deep: [1, Buffer.from('x'), { deeper: Buffer.alloc(0) }] }, 'and', Buffer.from('y')], ['x'.repeat(50_000)]]) {
          assert.deepEqual(await asks(socket, 'echo', ...args), args);
        }
      });

      test('events are answered in order', async () => {
        const socket = await connected(open());
        const order = [];
        const all = Array.from({ length: 40 }, (_, i) => ask(socket, 'echo', i).then((got) => { order.push(got); }));
        await Promise.all(all);
        assert.deepEqual(order, Array.from({ length: 40 }, (_, i) => i));
        const ours = handler.of('event').filter((c) => c.session === socket.id).map((c) => c.args[0]);
        assert.deepEqual(ours, order);
      });

      test('the handler asks, and the client answers or is silent', async () => {
        const socket = await connected(open());
        const heard = told(socket, 'heard');
        socket.on('question', (text, bytes, answer) => {
          assert.deepEqual([text, bytes], ['?', Buffer.from([0, 1, 2])]);
          answer('42', { b: Buffer.from('!') });
        });
        socket.emit('ask me');
        assert.deepEqual(await heard.next('what was heard'), ['q', 'in time', '42', { b: Buffer.from('!') }]);
        socket.emit('ask who is silent');
        assert.deepEqual(await heard.next('what was heard'), ['silent', 'timeout']);
      });

      test('a handler refuses, with data', async () => {
        const socket = open({ query: { as: 'nobody' } });
        const [error] = await event(socket, 'connect_error');
        assert.equal(error.message, 'not you');
        assert.deepEqual(error.data, { why: [1] });
        assert.equal(socket.connected, false);
      });

      test('it is told who connects, names the user and greets', async () => {
        const socket = open({ auth: { color: 'red', n: 1.5 } });
        const state = told(socket, 'state');
        await connected(socket);
        assert.deepEqual(await state.next('state'), [{ n: 1 }, 'x']);
        const call = handler.of('connected').find((c) => c.session === socket.id);
        assert.deepEqual(call.auth, { color: 'red', n: 1.5 });
        assert.equal(call.protocol, 'socket.io');
        assert.match(call.remote, /^127\.0\.0\.1:\d+$/);
        assert.deepEqual(Object.keys(call.query), ['as']);
        assert.deepEqual(await asks(socket, 'who am I'), [`user ${n}`, ['hall']]);
        assert.equal((await server.sessions('app')).find((s) => s.id === socket.id).user, `user ${n}`);
      });

      test('data stay with the session', async () => {
        const socket = await connected(open());
        for (const visits of [1, 2, 3]) assert.equal(await ask(socket, 'visits'), visits);
      });

      test('rooms, others and all', async () => {
        const [ann, bob, cem] = await Promise.all([open(), open(), open()].map(connected));
        const inboxes = [ann, bob, cem].map((s) => ({ roomy: told(s, 'roomy'), loud: told(s, 'loud') }));
        const room = `room ${ann.id}`;
        await ask(ann, 'enter', room);
        await ask(bob, 'enter', room);
        await ask(cem, 'enter', room);
        await ask(cem, 'exit', room);
        await ask(ann, 'to the room', room, 1, { a: 2 });
        assert.deepEqual(await inboxes[1].roomy.next('the event'), [1, { a: 2 }]);
        await ask(bob, 'to all', 'end', Buffer.from('z'));
        for (const { loud } of inboxes) {
          for (;;) { // what other tests say to all comes as well
            const [first, bytes] = await loud.next('the event for all');
            if (first === 'end') {
              assert.deepEqual(bytes, Buffer.from('z'));
              break;
            }
          }
        }
        assert.deepEqual(inboxes[0].roomy.rest(), []);
        assert.deepEqual(inboxes[2].roomy.rest(), []);
      });

      test('either side ends it', async () => {
        const socket = await connected(open());
        const { id } = socket;
        socket.emit('throw me out');
        assert.deepEqual(await event(socket, 'disconnect').then(([why]) => why), 'io server disconnect');
        const other = await connected(open());
        const otherID = other.id;
        other.disconnect();
        await eventually('both farewells', () => [id, otherID].every((s) => handler.of('disconnected').some((c) => c.session === s)));
        const [first] = handler.of('disconnected').filter((c) => c.session === id);
        assert.equal(first.code, 4010);
        assert.equal(handler.of('disconnected').filter((c) => c.session === otherID).length, 1);
      });
    });
  }
}

test('a session that is recovered is the same for its handler', async () => {
  const socket = newest(`${server.http}/back`, { transports: ['websocket'], forceNew: true, reconnectionDelay: 10, query: { as: 'ann' } });
  sockets.push(socket);
  await connected(socket);
  const { id } = socket;
  assert.equal(await ask(socket, 'visits'), 1);
  await ask(socket, 'enter', 'room');
  socket.io.engine.close();
  await event(socket, 'connect');
  assert.equal(socket.recovered, true);
  assert.equal(socket.id, id);
  const calls = handler.of('connected').filter((c) => c.session === id);
  assert.deepEqual(calls.map((c) => c.recovered ?? false), [false, true]);
  assert.deepEqual(calls[1].rooms.sort(), ['hall', 'room']);
  assert.deepEqual(calls[1].data, { visits: 2 });
  await eventually('the farewell', () => handler.of('disconnected').some((c) => c.session === id));
});

test('numbers and the order of members are as they were written', async () => {
  const socket = new WebSocket(server.ws('app'));
  const inbox = new Inbox();
  socket.on('message', (m) => inbox.put(m.toString()));
  await inbox.next('the welcome');
  socket.send('{"type":"emit","event":"echo","data":{"z":1.0,"a":12345678901234567890,"e":1e2,"<":"\\u00e4"},"ref":1}');
  let answer = '';
  while (!answer.includes('"ack"')) answer = await inbox.next('the answer');
  assert.equal(answer, '{"type":"ack","ref":1,"data":{"z":1.0,"a":12345678901234567890,"e":1e2,"<":"\\u00e4"}}');
  socket.close();
});

test('an EventSource is refused for good, or greeted', async () => {
  const refused = new EventSource(`${server.sse('app')}?as=nobody`);
  const error = await within(new Promise((resolve) => { refused.onerror = resolve; }), 'the refusal');
  assert.equal(error.code, 403);
  assert.equal(refused.readyState, EventSource.CLOSED);
  const source = new EventSource(`${server.sse('app')}?as=dan`);
  const state = await within(new Promise((resolve) => { source.addEventListener('state', resolve); }), 'the first event');
  assert.deepEqual(JSON.parse(state.data), [{ n: 1 }, 'x']);
  source.close();
});
