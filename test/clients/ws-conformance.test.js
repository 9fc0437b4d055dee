// RFC 6455, section by section, with frames of our own. Numbers are its sections.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { path } from './engine.js';
import { closing, frame, op, Raw } from './raw.js';
import { start } from './server.js';
import { within } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

// Both protocols on WebSockets. say is a text that is answered, whatever is in it.
const endpoints = {
  '/ws/public': {
    path: '/ws/public',
    limit: 32768,
    async open(headers) {
      const c = await Raw.open(server, this.path, headers);
      assert.match(await c.text(), /^\{"type":"welcome"/);
      return c;
    },
    say: (text) => `{"type":"ping","ref":${JSON.stringify(text)}}`,
    assertHeard: (answer, text) => assert.equal(JSON.parse(answer).ref, text),
  },
  '/socket.io/': {
    path: path({ transport: 'websocket' }),
    limit: 65536,
    async open(headers) {
      const c = await Raw.open(server, this.path, headers);
      assert.match(await c.text(), /^0\{/);
      c.send(frame(op.text, '40'));
      assert.match(await c.text(), /^40\{/);
      return c;
    },
    say: (text) => `421["join",${JSON.stringify(text)}]`,
    assertHeard: (answer, text) => assert.ok(JSON.parse(answer.slice(3))[0].rooms.includes(text), answer),
  },
};

for (const [name, endpoint] of Object.entries(endpoints)) {
  describe(name, () => {
    // Another client is there all the time.
    let other;
    let n = 0;
    before(async () => { other = await endpoint.open(); });
    after(() => other.socket.destroy());
    afterEach(async () => {
      await server.publish('public', { event: 'all', data: ++n });
      for (let heard = false; !heard;) heard = (await other.text('event for another client')).includes('"all"');
    });

    const open = (headers) => endpoint.open(headers);

    // assertFine says something, cut into frames by the function, and hears the answer.
    async function assertFine(c, text = 'hello', cut = (b) => frame(op.text, b)) {
      c.send(cut(Buffer.from(endpoint.say(text))));
      endpoint.assertHeard(await c.text('answer'), text);
    }

    // violates opens a connection, sends bytes and expects a close code.
    function violates(title, code, ...bytes) {
      test(`${title}: ${code}`, async () => {
        const c = await open();
        c.send(...bytes);
        await c.assertClosed(code);
      });
    }

    const say = (text = 'hello') => Buffer.from(endpoint.say(text));

    describe('4.2 handshake', () => {
      const refused = async (headers, statuses, more) => {
        const { socket, head } = await Raw.ask(server, endpoint.path, headers, more);
        const status = Number(/^HTTP\/1\.\d (\d+)/.exec(head)[1]);
        assert.ok(statuses.includes(status), head);
        socket.destroy();
        return head;
      };
      test('header values in any case, and Connection as a list', async () => {
        const c = await open({ Upgrade: 'WebSocket', Connection: 'keep-alive, UPGRADE' });
        await assertFine(c);
        c.socket.destroy();
      });
      test('no Upgrade', () => refused({ Upgrade: undefined }, [400, 426]));
      test('another Upgrade', () => refused({ Upgrade: 'h2c' }, [400, 426]));
      test('no Connection', () => refused({ Connection: undefined }, [400, 426]));
      test('no key', () => refused({ 'Sec-WebSocket-Key': undefined }, [400, 426]));
      test('a key of another length', () => refused({ 'Sec-WebSocket-Key': 'YWJj' }, [400, 426]));
      test('no version', () => refused({ 'Sec-WebSocket-Version': undefined }, [400, 426]));
      test('another version is told which there is', async () => {
        assert.match(await refused({ 'Sec-WebSocket-Version': '8' }, [400, 426]), /\r\nSec-WebSocket-Version: 13\b/i);
      });
      test('HTTP/1.0', () => refused({}, [400, 426, 505], { version: 'HTTP/1.0' }));
      test('POST', () => refused({ 'Content-Length': '0' }, [400, 404, 405, 426], { method: 'POST' }));
      test('no Host', () => refused({ Host: undefined }, [400]));
    });

    describe('5.1 masking', () => {
      violates('a frame that is not masked', 1002, frame(op.text, say(), { masked: false }));
      violates('a ping that is not masked', 1002, frame(op.ping, '', { masked: false }));
      violates('a close that is not masked', 1002, frame(op.close, closing(1000), { masked: false }));
    });

    describe('5.2 framing', () => {
      for (const rsv of [1, 2, 3, 4, 5, 6, 7]) {
        violates(`reserved bits ${rsv} of a text`, 1002, frame(op.text, say(), { rsv }));
        violates(`reserved bits ${rsv} of a ping`, 1002, frame(op.ping, '', { rsv }));
        violates(`reserved bits ${rsv} of a close`, 1002, frame(op.close, closing(1000), { rsv }));
        violates(`reserved bits ${rsv} of a continuation`, 1002, frame(op.text, 'a', { fin: false }), frame(op.more, 'b', { rsv }));
      }
      for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
        violates(`opcode ${opcode}`, 1002, frame(opcode, ''));
        violates(`opcode ${opcode} with data`, 1002, frame(opcode, say()));
        violates(`opcode ${opcode} within a message`, 1002, frame(op.text, 'a', { fin: false }), frame(opcode, ''));
      }
      // The sender is held to the least bytes; what a receiver does is its own affair.
      for (const [form, size] of [[16, 60], [64, 60], [64, 300]]) {
        test(`a length of ${form} bits for ${size} bytes is read as such`, async () => {
          const c = await open();
          await assertFine(c, 'r', (b) => frame(op.text, b.toString().padEnd(size), { form }));
          await assertFine(c);
          c.socket.destroy();
        });
      }
      violates('a length of 64 bits with the highest bit', 1002, frame(op.text, '', { form: 64, length: 1n << 63n }));
      test('lengths around the limits of each form', async () => {
        const c = await open();
        for (const size of [124, 125, 126, 127, 128, 255, 256, 4096, 65535, 65536, endpoint.limit - 1, endpoint.limit]) {
          if (size > endpoint.limit) continue; // not to be sent here
          await assertFine(c, 'r', (b) => frame(op.text, b.toString().padEnd(size)));
        }
        c.socket.destroy();
      });
      test('byte by byte', async () => {
        const c = await open();
        const bytes = Buffer.concat([frame(op.ping, 'slow'), frame(op.text, say(), {}), frame(op.text, say('x'.repeat(120)))]);
        await c.sendSlowly(bytes);
        assert.equal((await c.next()).data.toString(), 'slow');
        endpoint.assertHeard(await c.text(), 'hello');
        assert.ok(await c.text());
        c.socket.destroy();
      });
      test('many frames at once', async () => {
        const c = await open();
        c.send(...Array.from({ length: 500 }, (_, i) => frame(op.ping, `${i}`)));
        for (let i = 0; i < 500; i++) assert.equal((await c.next()).data.toString(), `${i}`);
        await assertFine(c);
        c.socket.destroy();
      });
      test('masks of zeros', async () => {
        const c = await open();
        const b = say();
        const head = b.length < 126 ? [0x81, 0x80 | b.length] : [0x81, 0xfe, b.length >> 8, b.length & 255];
        c.send(Buffer.from([...head, 0, 0, 0, 0]), b);
        endpoint.assertHeard(await c.text(), 'hello');
        c.socket.destroy();
      });
    });

    describe('5.4 fragmentation', () => {
      const parts = (b, ...at) => {
        const cuts = [0, ...at, b.length];
        return cuts.slice(1).map((end, i) => frame(i ? op.more : op.text, b.subarray(cuts[i], end), { fin: i === cuts.length - 2 }));
      };
      test('two fragments, cut anywhere', async () => {
        const c = await open();
        for (let i = 0; i <= say().length; i++) await assertFine(c, 'hello', (b) => Buffer.concat(parts(b, i)));
        c.socket.destroy();
      });
      test('a fragment for each byte', async () => {
        const c = await open();
        await assertFine(c, 'hello', (b) => Buffer.concat(parts(b, ...Array.from({ length: b.length - 1 }, (_, i) => i + 1))));
        c.socket.destroy();
      });
      test('empty fragments', async () => {
        const c = await open();
        await assertFine(c, 'hello', (b) => Buffer.concat(parts(b, 0, 0, 3, 3, b.length, b.length)));
        c.socket.destroy();
      });
      test('control frames in between, answered at once', async () => {
        const c = await open();
        const [a, b, d] = parts(say(), 3, 7);
        c.send(a, frame(op.ping, 'one'));
        assert.deepEqual(await c.next().then((f) => [f.opcode, f.data.toString()]), [op.pong, 'one']);
        c.send(b, frame(op.pong, 'unasked'), frame(op.ping, 'two'));
        assert.deepEqual(await c.next().then((f) => [f.opcode, f.data.toString()]), [op.pong, 'two']);
        c.send(d);
        endpoint.assertHeard(await c.text(), 'hello');
        c.socket.destroy();
      });
      test('a close in between', async () => {
        const c = await open();
        c.send(frame(op.text, 'a', { fin: false }), frame(op.close, closing(1000)));
        await c.assertCloseAnswered(1000);
      });
      violates('a continuation of nothing', 1002, frame(op.more, say()));
      violates('a continuation of nothing, to be continued', 1002, frame(op.more, say(), { fin: false }));
      violates('a text within a text', 1002, frame(op.text, 'a', { fin: false }), frame(op.text, say()));
      violates('bytes within a text', 1002, frame(op.text, 'a', { fin: false }), frame(op.binary, 'b'));
      test('a continuation after the end', async () => {
        const c = await open();
        await assertFine(c);
        c.send(frame(op.more, 'b'));
        await c.assertClosed(1002);
      });
    });

    describe('5.5 control frames', () => {
      for (const opcode of [op.close, op.ping, op.pong]) {
        violates(`opcode ${opcode} of 126 bytes`, 1002, frame(opcode, Buffer.concat([closing(1000), Buffer.alloc(124, 'x')])));
        violates(`opcode ${opcode} in fragments`, 1002, frame(opcode, closing(1000), { fin: false }));
        violates(`opcode ${opcode} with a length of 16 bits`, 1002, frame(opcode, closing(1000), { form: 16 }));
      }
      test('a pong has the data of its ping', async () => {
        const c = await open();
        for (const data of ['', 'x', Buffer.from([0, 255, 128]), Buffer.alloc(125, 'p')]) {
          c.send(frame(op.ping, data));
          const f = await c.next('pong');
          assert.deepEqual([f.opcode, f.fin, f.data.toString('hex')], [op.pong, true, Buffer.from(data).toString('hex')]);
        }
        c.socket.destroy();
      });
      test('a pong that nobody asked for is ignored', async () => {
        const c = await open();
        for (const data of ['', 'x', Buffer.alloc(125)]) c.send(frame(op.pong, data));
        await assertFine(c);
        c.socket.destroy();
      });
    });

    describe('7 closing', () => {
      for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) {
        test(`${code} is answered`, async () => {
          const c = await open();
          c.send(frame(op.close, closing(code, 'bye')));
          await c.assertCloseAnswered(code, 1000);
        });
      }
      for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]) {
        violates(`code ${code}`, 1002, frame(op.close, closing(code)));
      }
      test('a close without a code', async () => {
        const c = await open();
        c.send(frame(op.close));
        await c.assertCloseAnswered(1005, 1000);
      });
      test('a reason of 123 bytes', async () => {
        const c = await open();
        c.send(frame(op.close, closing(1000, 'ä'.repeat(61) + 'x')));
        await c.assertCloseAnswered(1000);
      });
      violates('half a code', 1002, frame(op.close, Buffer.from([3])));
      violates('a reason that is no UTF-8', 1007, frame(op.close, Buffer.concat([closing(1000), Buffer.from([0xff, 0xfe])])));
      test('what comes after a close is not read', async () => {
        const c = await open();
        c.send(frame(op.close, closing(1000)), frame(op.ping, 'x'), frame(op.text, say()));
        await c.assertCloseAnswered(1000);
      });
      test('a client that does not answer a close is not waited for long', async () => {
        const c = await open();
        c.send(frame(3, ''));
        assert.equal((await c.next()).opcode, op.close);
        await within(c.gone, 'the server to end the connection');
      });
      test('a client that ends the connection without a close', async () => {
        const c = await open();
        c.socket.end();
        await within(c.gone, 'the server to end the connection');
      });
      test('a client that ends the connection within a frame', async () => {
        const c = await open();
        c.send(frame(op.text, say()).subarray(0, 5));
        c.socket.end();
        await within(c.gone, 'the server to end the connection');
      });
      test('a client that resets the connection', async () => {
        const c = await open();
        c.socket.resetAndDestroy();
        await within(c.gone, 'the server to end the connection');
      });
    });

    describe('8.1 UTF-8', () => {
      const good = ['κόσμε', '\u0080߿ࠀ￿', '𐀀􏿿', '\u{10ffff}', '﷐￾', '😀', '\u0000\u007f'];
      test('what is UTF-8', async () => {
        for (const text of good) {
          const c = await open();
          await assertFine(c, text);
          c.socket.destroy();
        }
      });
      test('cut between any two bytes', async () => {
        const text = 'ä€😀';
        const c = await open();
        for (let i = 0; i <= say(text).length; i++) {
          await assertFine(c, text, (b) => Buffer.concat([frame(op.text, b.subarray(0, i), { fin: false }), frame(op.more, b.subarray(i))]));
        }
        c.socket.destroy();
      });
      test('cut into bytes', async () => {
        const c = await open();
        await assertFine(c, 'ä€😀', (b) => Buffer.concat(Array.from(b, (_, i) => frame(i ? op.more : op.text, b.subarray(i, i + 1), { fin: i === b.length - 1 }))));
        c.socket.destroy();
      });
      const bad = {
        'a lone continuation': [0x80],
        'bytes that never occur': [0xfe, 0xff],
        'an overlong slash': [0xc0, 0xaf],
        'an overlong slash of three': [0xe0, 0x80, 0xaf],
        'an overlong slash of four': [0xf0, 0x80, 0x80, 0xaf],
        'an overlong zero': [0xc0, 0x80],
        'the largest overlong of two': [0xc1, 0xbf],
        'a surrogate': [0xed, 0xa0, 0x80],
        'a pair of surrogates': [0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80],
        'beyond U+10FFFF': [0xf4, 0x90, 0x80, 0x80],
        'five bytes': [0xf8, 0x88, 0x80, 0x80, 0x80],
        'a sequence that ends too soon': [0xe2, 0x82],
        'a sequence that is broken off': [0xe2, 0x82, 0x41],
      };
      for (const [title, bytes] of Object.entries(bad)) {
        const [head, tail] = say('|').toString().split('|');
        const text = Buffer.concat([Buffer.from(head), Buffer.from(bytes), Buffer.from(tail)]);
        violates(title, 1007, frame(op.text, text));
        violates(`${title}, at the very end`, 1007, frame(op.text, Buffer.concat([Buffer.from(head), Buffer.from(bytes)])));
        violates(`${title}, in fragments`, 1007, ...Array.from(text, (_, i) => frame(i ? op.more : op.text, text.subarray(i, i + 1), { fin: i === text.length - 1 })));
      }
    });

    describe('10.4 limits', () => {
      const { limit } = endpoint;
      violates('a message that is too large', 1009, frame(op.text, Buffer.alloc(limit + 1, 'x')));
      violates('a message that would be, before it has come', 1009, frame(op.text, 'x', { length: limit + 1 }));
      violates('a message of a terabyte', 1009, frame(op.text, 'x', { length: 1n << 40n }));
      violates('a message of as much as can be said', 1009, frame(op.text, 'x', { length: (1n << 63n) - 1n }));
      violates('fragments that are too large together', 1009, frame(op.text, Buffer.alloc(limit - 10, 'x'), { fin: false }), frame(op.more, Buffer.alloc(11, 'x'), { fin: false }));
      violates('a thousand fragments that are too large together', 1009, frame(op.text, '', { fin: false }),
        ...Array.from({ length: 1000 }, () => frame(op.more, Buffer.alloc(limit / 512, 'x'), { fin: false })));
      test('a hundred thousand empty fragments cost nothing', async () => {
        const c = await open();
        c.send(frame(op.text, '', { fin: false }), ...Array.from({ length: 100_000 }, () => frame(op.more, '', { fin: false })), frame(op.more, say()));
        endpoint.assertHeard(await c.text(), 'hello');
        c.socket.destroy();
      });
    });
  });
}

test('bytes where only text is spoken: 1003', async () => {
  for (const frames of [[frame(op.binary, 'x')], [frame(op.binary, ''), frame(op.more, '')], [frame(op.binary, 'x', { fin: false }), frame(op.more, 'y')]]) {
    const c = await Raw.open(server, '/ws/public');
    await c.text();
    c.send(...frames);
    await c.assertClosed(1003);
  }
});
