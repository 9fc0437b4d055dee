// CloudEvents as npm's SDK sends them, in every mode.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CloudEvent, emitterFor, httpTransport, Mode } from 'cloudevents';
import WebSocket from 'ws';
import { http, start } from './server.js';
import { Inbox } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

const address = () => `http://${server.at.events}/v1/channels/public/events`;
let last = 0;
// made is a CloudEvent. Its data is never left out: the SDK's transport wants a body.
const made = (attributes) => new CloudEvent(
  { source: '/shop/checkout', type: 'com.example.paid', id: `${process.pid}-${last += 1}`, data: { n: last }, ...attributes });

const batch = (...events) => http(address(),
  { method: 'POST', headers: { 'content-type': 'application/cloudevents-batch+json' }, body: JSON.stringify(events) });

const modes = {
  binary: (event) => emitterFor(httpTransport(address()), { mode: Mode.BINARY })(event),
  structured: (event) => emitterFor(httpTransport(address()), { mode: Mode.STRUCTURED })(event),
  batched: (event) => batch(event),
};

// listen opens a WebSocket, and resolves to an inbox of its events.
async function listen(query = '') {
  const inbox = new Inbox();
  const socket = new WebSocket(server.ws(`public${query}`));
  const welcome = new Inbox();
  socket.on('message', (b) => {
    const { type, ...rest } = JSON.parse(b);
    (type === 'event' ? inbox : welcome).put(rest);
  });
  await welcome.next('the welcome');
  return { inbox, close: () => socket.close() };
}

for (const [mode, send] of Object.entries(modes)) {
  test(`clients get what is sent in ${mode} mode`, async () => {
    const { inbox, close } = await listen();
    for (const [attributes, want] of [
      [{ data: { order: 42 } }, { data: { order: 42 } }],
      [{ data: [1, null], datacontenttype: 'application/vnd.order+json' }, { data: [1, null] }],
      [{ data: 'paid: "5 €" <b>', datacontenttype: 'text/plain' }, { data: 'paid: "5 €" <b>' }],
      [{ data: '<paid/>', datacontenttype: 'application/xml' }, { dataBase64: Buffer.from('<paid/>').toString('base64') }],
      [{ data: new Uint8Array([0, 1, 255]), datacontenttype: 'application/octet-stream' }, { dataBase64: 'AAH/' }],
    ]) {
      const event = made(attributes);
      const answer = await send(event);
      assert.equal(answer.body, '');
      assert.ok(answer.headers['klaxon-offset'], `answer has ${JSON.stringify(answer.headers)}`);
      const { offset, ...got } = await inbox.next('the event');
      assert.equal(offset, answer.headers['klaxon-offset']);
      assert.deepEqual(got, { event: 'com.example.paid', id: `/shop/checkout ${event.id}`, ...want });
    }
    close();
  });

  test(`a subject is a room in ${mode} mode, unless extensions say whom an event is for`, async () => {
    const room = await listen('?room=order:42');
    const all = await listen();
    const events = [made({ subject: 'order:42' }), made({ subject: 'order:43', klaxonroom: 'order:42' }), made({})];
    for (const event of events) await send(event);
    const ids = (await room.inbox.take(3, 'events for the room')).map((e) => e.id);
    assert.deepEqual(ids, events.map((e) => `/shop/checkout ${e.id}`));
    assert.equal((await all.inbox.next('the event for all')).id, `/shop/checkout ${events[2].id}`);
    room.close();
    all.close();
  });

  test(`an event that is sent again in ${mode} mode is known`, async () => {
    const event = made({});
    const [first, second] = [await modes.structured(event), await send(event)];
    assert.equal(second.headers['klaxon-offset'], first.headers['klaxon-offset']);
  });
}

test('a batch is stored as a whole', async () => {
  const { inbox, close } = await listen();
  const events = [made({ data: 1 }), made({ data: 2 }), made({ data: 3 })];
  await batch(events[0]);
  const answer = await batch(...events);
  assert.equal(answer.status, 202);
  const got = await inbox.take(3, 'events');
  assert.deepEqual(got.map((e) => e.data), [1, 2, 3]); // the first was known
  assert.equal(answer.headers['klaxon-offset'], got[2].offset);
  close();
});

test('senders are told how many sessions an event was for', async () => {
  const clients = [await listen('?room=counted'), await listen('?room=counted')];
  const count = async (subject) => (await emitterFor(httpTransport(`${address()}?reached=true`))(made({ subject }))).headers['klaxon-reached'];
  assert.equal(await count('counted'), '2');
  assert.equal(await count('nobody'), '0');
  for (const { close } of clients) close();
});

test('what is wrong is named', async () => {
  const answer = await http(address(), { method: 'POST', headers: { 'ce-specversion': '1.0', 'ce-id': '1', 'ce-type': 't' } });
  assert.equal(answer.status, 400);
  assert.match(JSON.parse(answer.body).detail, /^source: is missing/);
});

test('a sender may ask first', async () => {
  const answer = await http(address(), { method: 'OPTIONS', headers: { 'webhook-request-origin': 'sender.example.com' } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['webhook-allowed-origin'], 'sender.example.com');
});
