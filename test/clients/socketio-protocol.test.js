// Socket.IO v5, packet by packet. Whatever one client sends, others notice nothing.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { open, Polling, separator, webSocket, webSocketSession } from './engine.js';
import { start, token } from './server.js';

let server;
let bystander;
let polling;
let polled;
before(async () => {
  server = await start();
  bystander = await webSocketSession(server);
  polling = await Polling.connected(server);
  polled = polling.listen();
});
after(() => server.stop());

// What is published to the whole channel must reach those who did nothing wrong.
let published = 0;
afterEach(async () => {
  await server.publish('public', { event: 'other', data: ++published, sessions: [bystander.session, polling.session] });
  for (const other of [bystander, polled]) {
    for (let got; got !== `42["other",${published}]`;) got = await other.next('event for another client');
  }
});

// engine is an Engine.IO session that has joined nothing.
async function engine() {
  const ws = webSocket(server);
  open(await ws.next());
  return ws;
}

const join = (ns = '/') => webSocketSession(server, ns);

async function assertJoins(ws, ns, sent) {
  ws.send(sent);
  const head = ns === '/' ? '40' : `40${ns},`;
  const answer = await ws.next();
  assert.ok(answer.startsWith(`${head}{`), answer);
  const said = JSON.parse(answer.slice(head.length));
  assert.deepEqual(Object.keys(said), ['sid']);
  assert.match(said.sid, /^[\w-]{20,}$/);
  return said.sid;
}

describe('CONNECT', () => {
  for (const [ns, sent] of [
    ['/', '40'], ['/', '40{}'], ['/', '40{"x":[1,{"y":null}]}'], ['/', '40{"rooms":["r"]}'], ['/', '40/,'], ['/', '40/,{}'],
    ['/shop', '40/shop,'], ['/shop', '40/shop'], ['/shop', '40/shop,{}'], ['/shop', '40/shop,{"pid":1,"offset":{}}'],
    ['/shop', '40/shop?a=b,'], ['/shop', '40/shop?a=b,{"x":1}'],
  ]) {
    test(sent, async () => {
      const ws = await engine();
      await assertJoins(ws, ns, sent);
      ws.terminate();
    });
  }

  test('with a token', async () => {
    const ws = await engine();
    await assertJoins(ws, '/private', `40/private,{"token":"${token('ann', ['*'])}"}`);
    ws.terminate();
  });

  test('with recovery, pid as well', async () => {
    const ws = await engine();
    ws.send('40/recovering,');
    const answer = await ws.next();
    const said = JSON.parse(answer.slice('40/recovering,'.length));
    assert.deepEqual(Object.keys(said).sort(), ['pid', 'sid']);
    assert.notEqual(said.pid, said.sid);
    ws.terminate();
  });

  for (const said of ['{"pid":1,"offset":2}', '{"pid":"nobody","offset":"nothing"}', '{"pid":null,"offset":[]}', '{"pid":"x"}',
    `{"pid":"${'x'.repeat(1000)}","offset":"${'y'.repeat(1000)}"}`, '{"pid":"__proto__","offset":"__proto__"}']) {
    test(`with recovery of nothing, ${said.slice(0, 40)}`, async () => {
      const ws = await engine();
      ws.send(`40/recovering,${said}`);
      assert.match(await ws.next(), /^40\/recovering,\{"sid":/);
      if (typeof JSON.parse(said).pid === 'string') assert.match(await ws.next(), /^42\/recovering,\["klaxon.lost",\{"oldest":"[^"]+"\}\]$/);
      assert.match(await ws.next(), /^42\/recovering,\["klaxon.offset","[^"]+"\]$/);
      await server.publish('recovering', { event: 'e', data: 1 });
      assert.match(await ws.next(), /^42\/recovering,\["e",1,"[^"]+"\]$/);
      ws.terminate();
    });
  }

  test('to an unknown namespace', async () => {
    const ws = await engine();
    for (const ns of ['/random', '/random/', '/Shop', '/shop/', '//shop', '/__proto__', '/public', '/x'.repeat(60)]) {
      ws.send(`40${ns},`);
      assert.equal(await ws.next(), `44${ns},{"message":"Invalid namespace"}`);
    }
    ws.send('40/random');
    assert.equal(await ws.next(), '44/random,{"message":"Invalid namespace"}');
    await assertJoins(ws, '/', '40');
    ws.terminate();
  });

  const refusals = [
    ['no token', '40/private,', 'token'],
    ['an empty token', '40/private,{"token":""}', 'token'],
    ['a bad token', '40/private,{"token":"abc"}', 'token'],
    ['an expired token', () => `40/private,{"token":"${token('ann', [], -100)}"}`, 'token'],
    ['a token that is no string', '40/private,{"token":{"x":1}}', 'bad_request'],
    ['rooms that are no list', '40/shop,{"rooms":"r"}', 'bad_request'],
    ['rooms that are no strings', '40/shop,{"rooms":[1]}', 'bad_request'],
    ['an empty room', '40/shop,{"rooms":[""]}', 'bad_request'],
    ['a long room', `40/shop,{"rooms":["${'r'.repeat(129)}"]}`, 'bad_request'],
    ['too many rooms', `40/shop,{"rooms":${JSON.stringify(Array.from({ length: 101 }, (_, i) => `r${i}`))}}`, 'bad_request'],
  ];
  for (const [name, sent, code] of refusals) {
    test(`with ${name}`, async () => {
      const ws = await engine();
      const packet = typeof sent === 'string' ? sent : sent();
      const ns = /^40(\/\w+),/.exec(packet)[1];
      ws.send(packet);
      const answer = await ws.next();
      assert.ok(answer.startsWith(`44${ns},`), answer);
      const { message, data, ...more } = JSON.parse(answer.slice(3 + ns.length));
      assert.equal(typeof message, 'string');
      assert.ok(message.length > 5, message);
      assert.deepEqual([data, more], [{ code }, {}]);
      await assertJoins(ws, '/', '40'); // others are not harmed
      await assertJoins(ws, '/shop', '40/shop,'); // nor is another try
      ws.terminate();
    });
  }

  test('a client that is refused again and again is closed in the end', async () => {
    const ws = await engine();
    for (let i = 0; i < 1000; i++) ws.send('40/random,');
    await ws.ended();
  });

  test('a Channel that is full says so', async () => {
    const first = await join('/tiny');
    const ws = await engine();
    ws.send('40/tiny,');
    const answer = await ws.next();
    assert.match(answer, /^44\/tiny,/);
    assert.deepEqual(JSON.parse(answer.slice(8)).data, { code: 'full' });
    first.send('41/tiny,');
    for (let answered = '44'; answered === '44';) {
      ws.send('40/tiny,');
      answered = (await ws.next()).slice(0, 2);
    }
    ws.terminate();
    first.terminate();
  });
});

describe('what ends the connection', () => {
  const reserved = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'];
  const deep = (n) => '['.repeat(n) + ']'.repeat(n);
  const violations = {
    'before CONNECT': [],
    'after CONNECT': ['40'],
  };
  const packets = [
    ['a type that is unknown', '47["e"]'],
    ['a type that is no digit', '4abc'],
    ['an empty message', '4'],
    ['a CONNECT_ERROR of the client', '44{"message":"no"}'],
    ['an event for a namespace not joined', '42/shop,["e"]'],
    ['an ack for a namespace not joined', '43/shop,1[]'],
    ['an event that is no JSON', '42["e"'],
    ['an event with something after it', '42["e"]x'],
    ['an event that is an object', '42{"e":1}'],
    ['an event that is a string', '42"e"'],
    ['an event without a payload', '42'],
    ['an event without a payload, with an id', '425'],
    ['an event that is empty', '42[]'],
    ['an event without a name', '42[{"a":1}]'],
    ['an event named null', '42[null]'],
    ['an event named true', '42[true,1]'],
    ['an ack that is no list', '431{"a":1}'],
    ['an ack without a payload', '431'],
    ['a DISCONNECT with a payload', '41{"a":1}'],
    ['a CONNECT with a list', '40[]'],
    ['a CONNECT with a string', '40"x"'],
    ['a CONNECT with no JSON', '40{'],
    ...reserved.map((name) => [`an event named ${name}`, `42["${name}"]`]),
    ['a binary event without a count', '45["e",{"_placeholder":true,"num":0}]'],
    ['a binary event without a dash', '451["e",{"_placeholder":true,"num":0}]'],
    ['a binary event with a count that is none', '45x-["e"]'],
    ['a negative count', '45-1-["e"]'],
    ['11 attachments', '4511-["e"]'],
    ['thousands of attachments', '45100000-["e"]'],
    ['more attachments than there are numbers', `45${'9'.repeat(400)}-["e"]`],
    ['bytes that no packet announced', Buffer.from([1, 2, 3])],
    ['an id of thousands of digits', `42${'1'.repeat(5000)}["e"]`],
  ];
  for (const [when, first] of Object.entries(violations)) {
    describe(when, () => {
      for (const [name, packet] of packets) {
        test(name, async () => {
          const ws = await engine();
          for (const p of first) {
            ws.send(p);
            await ws.next();
          }
          ws.send(packet);
          await ws.ended();
          assert.deepEqual(ws.rest(), [], 'nothing is said, no DISCONNECT either');
        });
      }
    });
  }

  test('an event before CONNECT', async () => {
    const ws = await engine();
    ws.send('42["e"]');
    await ws.ended();
  });

  test('CONNECT twice', async () => {
    const ws = await join();
    ws.send('40');
    await ws.ended();
    assert.deepEqual(ws.rest(), []);
  });

  test('CONNECT twice to another namespace', async () => {
    const ws = await join();
    await assertJoins(ws, '/shop', '40/shop,');
    ws.send('40/shop,{}');
    await ws.ended();
  });

  const attached = [
    ['text among attachments', ['452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1]), '42["f"]']],
    ['another binary event among attachments', ['451-["e",{"_placeholder":true,"num":0}]', '451-["e",{"_placeholder":true,"num":0}]']],
    ['a placeholder too high', ['451-["e",{"_placeholder":true,"num":1}]', Buffer.from([1])]],
    ['a placeholder below zero', ['451-["e",{"_placeholder":true,"num":-1}]', Buffer.from([1])]],
    ['a placeholder that is no whole number', ['451-["e",{"_placeholder":true,"num":0.5}]', Buffer.from([1])]],
    ['a placeholder that is a string', ['451-["e",{"_placeholder":true,"num":"0"}]', Buffer.from([1])]],
    ['a placeholder deep inside too high', ['451-["e",{"a":[{"b":{"_placeholder":true,"num":7}}]}]', Buffer.from([1])]],
    ['more bytes than announced', ['451-["e",{"_placeholder":true,"num":0}]', Buffer.from([1]), Buffer.from([2])]],
    ['a reserved name with attachments', ['451-["disconnect",{"_placeholder":true,"num":0}]', Buffer.from([1])]],
    ['attachments that are too large together', ['4510-["e"]', ...Array.from({ length: 10 }, () => Buffer.alloc(60000))]],
  ];
  for (const [name, messages] of attached) {
    test(name, async () => {
      const ws = await join();
      for (const m of messages) ws.send(m);
      await ws.ended();
      assert.deepEqual(ws.rest().filter((p) => !p.startsWith('42["klaxon.error"')), [], 'nothing is said, no DISCONNECT either');
    });
  }

  test('a message that is too large, with 1009', async () => {
    const ws = await join();
    ws.send(`42["e","${'x'.repeat(65536)}"]`);
    assert.deepEqual(await ws.ended(), { code: 1009, reason: '' });
  });

  test('an attachment that is too large, with 1009', async () => {
    const ws = await join();
    ws.send('451-["e",{"_placeholder":true,"num":0}]');
    ws.send(Buffer.alloc(65537));
    assert.deepEqual(await ws.ended(), { code: 1009, reason: '' });
  });

  test('by polling as well', async () => {
    const p = await Polling.connected(server);
    assert.equal((await p.post('42["disconnect"]')).status, 400);
    await p.assertClosed();
  });

  test('depth costs nothing', async () => {
    const ws = await join();
    ws.send(`420["e",${deep(20_000)}]`);
    // Whether it is read or refused, it is over soon.
    await Promise.race([ws.next(), ws.ended()]);
    ws.terminate();
  });
});

describe('events and acks', () => {
  test('an ack has the id of its event', async () => {
    const ws = await join();
    for (const id of ['0', '1', '13', '456', '2147483647', '9007199254740991']) {
      ws.send(`42${id}["join","r"]`);
      const answer = await ws.next();
      assert.ok(answer.startsWith(`43${id}[`), answer);
      const args = JSON.parse(answer.slice(2 + id.length));
      assert.equal(args.length, 1);
      assert.deepEqual(Object.keys(args[0]).sort(), ['offset', 'rooms']);
    }
    ws.terminate();
  });

  test('in a namespace of its own', async () => {
    const ws = await engine();
    await assertJoins(ws, '/shop', '40/shop,');
    ws.send('42/shop,12["join",["a","b"]]');
    const answer = await ws.next();
    assert.match(answer, /^43\/shop,12\[\{/);
    assert.deepEqual(JSON.parse(answer.slice('43/shop,12'.length))[0].rooms, ['a', 'b']);
    await server.publish('shop', { event: 'x', data: { n: 1 } });
    assert.equal(await ws.next(), '42/shop,["x",{"n":1}]');
    await server.publish('shop', { event: 'x', dataBase64: 'AQID' });
    assert.equal(await ws.next(), '451-/shop,["x",{"_placeholder":true,"num":0}]');
    assert.deepEqual(await ws.next(), Buffer.from([1, 2, 3]));
    ws.terminate();
  });

  test('an emit that nobody handles', async () => {
    const ws = await join();
    ws.send('427["hello",1,"2",{"3":[true]}]');
    const answer = await ws.next();
    assert.match(answer, /^437\[/);
    const [{ error, ...more }] = JSON.parse(answer.slice(3));
    assert.equal(error.code, 'not_handled');
    assert.equal(typeof error.message, 'string');
    assert.deepEqual(more, {});
    ws.send('42["hello"]');
    const [name, said] = JSON.parse((await ws.next()).slice(2));
    assert.equal(name, 'klaxon.error');
    assert.equal(said.error?.code ?? said.code, 'not_handled');
    ws.terminate();
  });

  test('a number may be a name', async () => {
    const ws = await join();
    ws.send('421[5,"x"]');
    assert.match(await ws.next(), /^431\[\{"error":\{"code":"not_handled"/);
    ws.terminate();
  });

  test('an event with attachments, in order', async () => {
    const ws = await join();
    ws.send('452-9["hello",{"_placeholder":true,"num":1},{"a":{"_placeholder":true,"num":0}}]');
    ws.send(Buffer.from([1]));
    ws.send(Buffer.from([]));
    assert.match(await ws.next(), /^439\[\{"error":\{"code":"not_handled"/);
    ws.send('450-["hello"]'); // none is allowed, too
    assert.match(await ws.next(), /^42\["klaxon.error"/);
    ws.send('4510-3["hello"]');
    for (let i = 0; i < 10; i++) ws.send(Buffer.from([i]));
    assert.match(await ws.next(), /^433\[/);
    ws.terminate();
  });

  test('acks that nobody asked for are ignored', async () => {
    const ws = await join();
    for (const ack of ['430[]', '43999["x"]', '461-5[{"_placeholder":true,"num":0}]', Buffer.from([1])]) ws.send(ack);
    ws.send('421["join","r"]');
    assert.match(await ws.next(), /^431\[/);
    ws.terminate();
  });

  test('JSON as it may be written', async () => {
    const ws = await join();
    ws.send('421[ "join" , "\\u00e4\\ud83d\\ude00" ] ');
    assert.deepEqual(JSON.parse((await ws.next()).slice(3))[0].rooms, ['ä😀']);
    ws.terminate();
  });

  const mistakes = ['1["join"]', '1["join",1]', '1["join",""]', '1["join",[]]', '1["join",["a",1]]', '1["join",null]', '1["join","a","b"]',
    `1["join","${'r'.repeat(129)}"]`, '1["leave"]', '1["leave",{}]', '1["auth"]', '1["auth",{}]', '1["auth","x"]', '1["auth",{"token":1}]'];
  for (const sent of mistakes) {
    test(`a mistake, ${sent.slice(0, 30)}`, async () => {
      const ws = await join();
      ws.send(`42${sent}`);
      const [said] = JSON.parse((await ws.next()).slice(3));
      assert.equal(said.error.code, 'bad_message');
      ws.send('422["join","fine"]');
      assert.deepEqual(JSON.parse((await ws.next()).slice(3))[0].rooms, ['fine']);
      ws.terminate();
    });
  }

  test('no more than 100 rooms', async () => {
    const ws = await join();
    const rooms = Array.from({ length: 60 }, (_, i) => `r${i}`);
    ws.send(`421${JSON.stringify(['join', rooms])}`);
    assert.equal(JSON.parse((await ws.next()).slice(3))[0].rooms.length, 60);
    ws.send(`422${JSON.stringify(['join', rooms.map((r) => `x${r}`)])}`);
    const [said] = JSON.parse((await ws.next()).slice(3));
    assert.equal(said.rooms.length, 100);
    assert.equal(said.error.code, 'too_many_rooms');
    assert.equal(said.error.rooms.length, 20);
    ws.terminate();
  });

  test('by polling', async () => {
    const p = await Polling.connected(server, '/shop');
    await server.publish('shop', { event: 'x', data: 'y' });
    assert.equal(await p.next(), '42/shop,["x","y"]');
    await p.push('42/shop,3["join","r"]', '42/shop,4["leave","r"]');
    assert.deepEqual([await p.next(), await p.next()].map((a) => a.slice(0, 10)), ['43/shop,3[', '43/shop,4[']);
  });
});

describe('DISCONNECT', () => {
  test('of the only namespace', async () => {
    const ws = await join();
    ws.send('41');
    await server.publish('public', { event: 'late' });
    ws.send('40'); // again
    assert.match(await ws.next(), /^40\{/);
    await server.publish('public', { event: 'there' });
    assert.equal(await ws.next(), '42["there",null]');
    ws.terminate();
  });

  test('of one of two, with and without a comma', async () => {
    const ws = await join();
    for (const packet of ['41/shop', '41/shop,']) {
      await assertJoins(ws, '/shop', '40/shop,');
      ws.send(packet);
      ws.send('425["join","r"]');
      assert.match(await ws.next(), /^435\[/);
      await server.publish('shop', { event: 'no' });
      await server.publish('public', { event: 'yes' });
      assert.equal(await ws.next(), '42["yes",null]');
    }
    ws.terminate();
  });

  test('of a publisher\'s takes one namespace, the connection stays', async () => {
    const ws = await join();
    const sid = await assertJoins(ws, '/shop', '40/shop,');
    await server.disconnect('shop', sid);
    const packet = await ws.next();
    assert.match(packet, /^42\/shop,\["klaxon.disconnect",/);
    const [, said] = JSON.parse(packet.slice('42/shop,'.length));
    assert.equal(said.code, 4010);
    assert.equal(said.reason, 'disconnected by a publisher');
    assert.equal(await ws.next(), '41/shop,');
    await server.publish('public', { event: 'still' });
    assert.equal(await ws.next(), '42["still",null]');
    await assertJoins(ws, '/shop', '40/shop,');
    ws.terminate();
  });

  test('of a publisher\'s, by polling', async () => {
    const p = await Polling.connected(server);
    await server.publish('public', { event: 'before' });
    await server.disconnect('public', p.session);
    assert.equal(await p.next(), '42["before",null]');
    assert.match(await p.next(), /^42\["klaxon.disconnect",\{"code":4010,/);
    assert.equal(await p.next(), '41');
    await p.assertOpen();
  });
});

describe('a client that reads slowly', () => {
  test('is told what it missed', async () => {
    const p = await Polling.connected(server, '/lossy');
    const n = 40;
    const filler = 'x'.repeat(1000);
    for (let i = 0; i < n; i++) await server.publish('lossy', { event: 'e', data: [i, filler] });
    const got = [];
    let dropped = 0;
    while (got.length + dropped < n) {
      const [name, data] = JSON.parse((await p.next()).slice('42/lossy,'.length));
      if (name === 'klaxon.gap') dropped += data.dropped; else got.push(data[0]);
    }
    assert.ok(dropped > 0, 'nothing was dropped');
    assert.equal(got.at(-1), n - 1);
    assert.deepEqual(got, got.toSorted((a, b) => a - b));
  });
});

test('packets in one payload after one that ends the session do nothing', async () => {
  const p = await Polling.connected(server);
  await p.post(['42["disconnect"]', '421["join","r"]'].join(separator));
  await p.assertClosed();
});
