// RFC 7692, section by section, with frames of our own. Numbers are its sections.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { deflateRawSync, inflateRawSync, constants } from 'node:zlib';
import WebSocket from 'ws';
import { path, webSocketSession } from './engine.js';
import { frame, op, Raw } from './raw.js';
import { start } from './server.js';
import { Inbox } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

const offer = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };
const engine = path({ transport: 'websocket' });
const tail = Buffer.from([0, 0, 0xff, 0xff]);

// pack compresses a message as section 7.2.1 says, and unpack reads one alone: what
// came before must not be needed.
function pack(text, options) {
  const b = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH, ...options });
  assert.deepEqual(b.subarray(-4), tail);
  return b.subarray(0, -4);
}
const unpack = (b) => inflateRawSync(Buffer.concat([b, tail]), { finishFlush: constants.Z_SYNC_FLUSH }).toString();

const packed = (text, more) => frame(op.text, pack(text), { rsv: 4, ...more });

// Both protocols. say is a message that is answered.
const endpoints = {
  '/ws/packed': {
    async open(headers = offer) {
      const c = await Raw.open(server, '/ws/packed', headers);
      assert.match(read(await c.next()), /^\{"type":"welcome"/);
      return c;
    },
    say: (ref) => JSON.stringify({ type: 'ping', ref }),
    answer: (text) => JSON.parse(text).ref,
    event: (text) => JSON.parse(text).data,
    limit: 32768,
  },
  '/socket.io/ and /packed': {
    async open(headers = offer) {
      const c = await Raw.open(server, engine, headers);
      assert.match(read(await c.next()), /^0\{/);
      c.send(frame(op.text, '40/packed,'));
      assert.match(read(await c.next()), /^40\/packed,\{/);
      return c;
    },
    say: (room) => `42/packed,1${JSON.stringify(['join', room])}`,
    answer: (text) => JSON.parse(text.slice('43/packed,1'.length))[0].rooms.at(-1),
    event: (text) => JSON.parse(text.slice('42/packed,'.length))[1],
    limit: 65536,
  },
};

// read reads a text, compressed or not.
function read(f) {
  assert.deepEqual([f.opcode, f.fin], [op.text, true], `${f.data}`);
  assert.ok(f.rsv === 0 || f.rsv === 4, `reserved bits ${f.rsv}`);
  return f.rsv ? unpack(f.data) : f.data.toString();
}

const large = (n) => ({ n, text: 'the same words again and again, '.repeat(40) });

describe('7.1 negotiation', () => {
  const negotiate = async (offers, where = '/ws/packed') => {
    const c = await Raw.open(server, where, { 'Sec-WebSocket-Extensions': offers });
    c.socket.destroy();
    const answer = c.head.get('sec-websocket-extensions');
    if (answer === undefined) return undefined;
    const [name, ...parameters] = answer.split(';').map((s) => s.trim());
    assert.equal(name, 'permessage-deflate');
    return parameters;
  };
  const accepted = ['permessage-deflate', 'permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits=15',
    'permessage-deflate; client_max_window_bits="10"', 'permessage-deflate; server_no_context_takeover', 'permessage-deflate; client_no_context_takeover',
    'permessage-deflate; server_no_context_takeover; client_no_context_takeover', 'permessage-deflate;client_max_window_bits;server_no_context_takeover',
    'x-webkit-deflate-frame, permessage-deflate', 'permessage-deflate; unknown, permessage-deflate', 'permessage-deflate; server_max_window_bits=15'];
  for (const offers of accepted) {
    for (const where of ['/ws/packed', engine]) {
      test(`${offers}, at ${where.slice(0, 10)}`, async () => {
        const parameters = await negotiate(offers, where);
        assert.ok(parameters, 'declined');
        assert.ok(parameters.includes('server_no_context_takeover'), `${parameters}`);
        assert.ok(parameters.includes('client_no_context_takeover'), `${parameters}`);
        for (const p of parameters) {
          assert.match(p, /^(server_no_context_takeover|client_no_context_takeover|(server|client)_max_window_bits=(8|9|1[0-5]))$/);
          if (p.startsWith('client_max')) assert.match(offers, /client_max_window_bits/, 'the client has not offered it');
        }
      });
    }
  }
  const declined = ['permessage-deflate; unknown', 'permessage-deflate; server_no_context_takeover=1', 'permessage-deflate; client_no_context_takeover=1',
    'permessage-deflate; server_max_window_bits', 'permessage-deflate; server_max_window_bits=7', 'permessage-deflate; server_max_window_bits=16',
    'permessage-deflate; server_max_window_bits=08', 'permessage-deflate; server_max_window_bits=x', 'permessage-deflate; client_max_window_bits=7',
    'permessage-deflate; client_max_window_bits=16', 'permessage-deflate; client_max_window_bits; client_max_window_bits',
    'permessage-deflate; server_no_context_takeover; server_no_context_takeover', 'permessage-bzip2', 'deflate', ''];
  for (const offers of declined) {
    test(`${JSON.stringify(offers)} is declined, and the connection made`, async () => assert.equal(await negotiate(offers), undefined));
  }
  test('a small window is kept to, or declined', async () => {
    const parameters = await negotiate('permessage-deflate; server_max_window_bits=9');
    assert.ok(parameters === undefined || parameters.includes('server_max_window_bits=9'), `${parameters}`);
  });
  test('what nobody offered is not there', async () => {
    const c = await Raw.open(server, '/ws/packed');
    assert.equal(c.head.has('sec-websocket-extensions'), false);
    c.socket.destroy();
  });
  test('a Channel that compresses nothing does not take the offer', async () => {
    assert.equal(await negotiate('permessage-deflate', '/ws/public'), undefined);
  });
});

for (const [name, endpoint] of Object.entries(endpoints)) {
  describe(name, () => {
    let c;
    beforeEach(async (t) => {
      c = await endpoint.open();
      t.after?.(() => c.socket.destroy());
    });

    const assertHeard = async (ref) => assert.equal(endpoint.answer(read(await c.next('answer'))), ref);

    function violates(title, codes, ...frames) {
      test(`${title}: ${codes}`, async () => {
        c.send(...frames);
        await c.assertClosed(...[codes].flat());
      });
    }

    test('7.2.1 a large event is compressed, and read without those before', async () => {
      const plain = await endpoint.open({});
      const events = Array.from({ length: 5 }, (_, i) => large(i));
      for (const data of events) await server.publish('packed', { event: 'e', data });
      for (const data of events) {
        const f = await c.next();
        assert.equal(f.rsv, 4);
        assert.notDeepEqual(f.data.subarray(-4), tail, 'the four bytes at the end are left out');
        const text = unpack(f.data);
        assert.ok(f.data.length < text.length / 2, `${f.data.length} bytes for ${text.length}`);
        assert.deepEqual(endpoint.event(text), data);
        const other = await plain.next();
        assert.equal(other.rsv, 0, 'who has not offered it gets it plain');
        assert.equal(other.data.toString(), text);
      }
      plain.socket.destroy();
    });

    test('a small event is not', async () => {
      await server.publish('packed', { event: 'e', data: 1 });
      const f = await c.next();
      assert.equal(f.rsv, 0);
      assert.equal(endpoint.event(f.data.toString()), 1);
    });

    test('the same event is the same bytes for all', async () => {
      const second = await endpoint.open();
      await server.publish('packed', { event: 'e', data: large(1) });
      assert.deepEqual((await second.next()).data, (await c.next()).data);
      second.socket.destroy();
    });

    test('7.2.2 what the client compresses is read', async () => {
      for (const options of [{}, { level: 0 }, { level: 9 }, { strategy: constants.Z_FIXED }, { strategy: constants.Z_HUFFMAN_ONLY }, { windowBits: 9 }]) {
        c.send(frame(op.text, pack(endpoint.say('hello'), options), { rsv: 4 }));
        await assertHeard('hello');
      }
      c.send(frame(op.text, endpoint.say('plain')));
      await assertHeard('plain');
    });

    test('7.2.3 in blocks, with an end, and with nothing in them', async () => {
      const say = endpoint.say('hello');
      const halves = Buffer.concat([deflateRawSync(say.slice(0, 5), { finishFlush: constants.Z_SYNC_FLUSH }), pack(say.slice(5))]);
      const final = Buffer.concat([deflateRawSync(say), Buffer.from([0])]); // 7.2.3.4: BFINAL set
      const stored = Buffer.concat([deflateRawSync('', { finishFlush: constants.Z_SYNC_FLUSH }), pack(say)]);
      for (const data of [halves, final, stored]) {
        c.send(frame(op.text, data, { rsv: 4 }));
        await assertHeard('hello');
      }
    });

    test('6.1 in fragments, of which the first has the bit', async () => {
      const data = pack(endpoint.say('hello'));
      for (let i = 0; i <= data.length; i++) {
        c.send(frame(op.text, data.subarray(0, i), { rsv: 4, fin: false }), frame(op.ping, ''), frame(op.more, data.subarray(i)));
        assert.equal((await c.next()).opcode, op.pong);
        await assertHeard('hello');
      }
    });

    test('what is as large as may be', async () => {
      c.send(packed(endpoint.say('r').padEnd(endpoint.limit)));
      await assertHeard('r');
    });

    violates('6.1 the bit on a continuation', 1002, packed('ab', { fin: false }), frame(op.more, 'c', { rsv: 4 }));
    violates('6.1 the bit on a ping', 1002, frame(op.ping, '', { rsv: 4 }));
    violates('6.1 the bit on a close', 1002, frame(op.close, '', { rsv: 4 }));
    violates('the other bits', 1002, frame(op.text, pack(endpoint.say('r')), { rsv: 6 }));
    violates('what is no DEFLATE', [1002, 1007], frame(op.text, Buffer.from([0xff, 0xff, 0xff]), { rsv: 4 }));
    violates('DEFLATE that is broken off', [1002, 1007], frame(op.text, pack(endpoint.say('r'.repeat(50))).subarray(0, 8), { rsv: 4 }));
    violates('compressed text that is no UTF-8', 1007, frame(op.text, pack(Buffer.from([0x22, 0xff, 0x22])), { rsv: 4 }));
    violates('what is too large when it is read', 1009, packed(endpoint.say('r').padEnd(endpoint.limit + 1)));
    violates('a bomb', 1009, packed('x'.repeat(10_000_000)));
    violates('a bomb in fragments', 1009, packed('x'.repeat(10_000_000), { fin: false }), frame(op.more, ''));
    violates('what came before is not remembered', [1002, 1007, 1009],
      ...(() => { // the second message points back into the first
        const both = deflateRawSync(Buffer.from(endpoint.say('hello').repeat(2)), { finishFlush: constants.Z_SYNC_FLUSH });
        return [frame(op.text, both.subarray(-12, -4), { rsv: 4 })];
      })());

    test('without negotiation the bit is a violation', async () => {
      const plain = await endpoint.open({});
      plain.send(packed(endpoint.say('r')));
      await plain.assertClosed(1002);
    });
  });
}

test('npm\'s ws, which offers it, and socket.io as it is', async () => {
  const ws = new WebSocket(server.ws('packed'));
  const inbox = new Inbox();
  ws.on('message', (b) => inbox.put(JSON.parse(b)));
  assert.equal((await inbox.next('welcome')).type, 'welcome');
  assert.match(ws.extensions, /permessage-deflate/);
  const io = await webSocketSession(server, '/packed', undefined, { perMessageDeflate: true });
  assert.match(io.extensions, /permessage-deflate/);
  await server.publish('packed', { event: 'e', data: large(1) });
  assert.deepEqual((await inbox.next('event')).data, large(1));
  assert.deepEqual(JSON.parse((await io.next()).slice('42/packed,'.length)), ['e', large(1)]);
  ws.send(JSON.stringify({ type: 'ping', ref: 'r'.repeat(60) }));
  assert.equal((await inbox.next('pong')).type, 'pong');
  ws.terminate();
  io.terminate();
});
