// Who is there, as clients of each protocol are told.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { http, start, token } from './server.js';
import { connected, Inbox } from './wait.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

// crowd is what a client makes of what it is told.
class Crowd {
  #told = new Inbox();
  users = new Set();

  put({ users, joined = [], left = [], sessionCount }) {
    if (users) this.users = new Set(users.map((u) => u.user));
    for (const user of joined) this.users.add(user);
    for (const user of left) this.users.delete(user);
    this.#told.put(`${[...this.users].sort()} ${sessionCount}`);
  }

  // until waits until it is told this.
  async until(want, ms = 20_000) {
    for (let got; got !== want;) got = await this.#told.next(`presence to be ${want}, it is ${got}`, ms);
  }
}

test('those who watch a room see who joins and leaves, whatever they speak', async () => {
  const tokens = Object.fromEntries(['ann', 'bob', 'cem'].map((user) => [user, token(user, ['*'])]));
  const crowds = { ann: new Crowd(), bob: new Crowd(), cem: new Crowd() };

  const ann = new WebSocket(server.ws(`private?room=r&watch=r&token=${tokens.ann}`));
  ann.on('message', (b) => { const m = JSON.parse(b); if (m.type === 'presence') crowds.ann.put(m); });
  await crowds.ann.until('ann 1');

  const bob = io(`${server.http}/private`, { forceNew: true, transports: ['websocket'], auth: { token: tokens.bob, rooms: ['r'] } });
  bob.on('klaxon.presence', (m) => crowds.bob.put(m));
  await connected(bob);
  assert.equal((await bob.emitWithAck('watch', 'r')).error, undefined);
  assert.equal((await bob.emitWithAck('watch', 'another')).error.code, 'forbidden');

  const cem = new EventSource(server.sse(`private?room=r&watch=r&token=${tokens.cem}`));
  cem.addEventListener('klaxon.presence', (m) => crowds.cem.put(JSON.parse(m.data)));

  for (const crowd of Object.values(crowds)) await crowd.until('ann,bob,cem 3');
  const answer = await http(`http://${server.at.events}/v1/channels/private/presence?room=r&limit=2`);
  assert.deepEqual(JSON.parse(answer.body),
    { room: 'r', users: [{ user: 'ann', sessions: 1 }, { user: 'bob', sessions: 1 }], userCount: 3, sessionCount: 3, next: 'bob' });

  cem.close();
  bob.disconnect();
  await crowds.ann.until('ann 1');
  ann.close();
});
