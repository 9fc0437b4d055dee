// Waiting, always with a bound, and with words for what did not happen.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';

// patience is for what should take no time at all, on a machine that is busy.
export const patience = 10_000;

// within waits for a promise.
export async function within(promise, what, ms = patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// event waits for the next event of an emitter, and returns its arguments.
export function event(emitter, name, ms = patience) {
  const promise = new Promise((resolve) => { emitter.once(name, (...args) => resolve(args)); });
  return within(promise, `the event ${name}`, ms);
}

// connected waits until a Socket.IO client is, by the last of its transports. The
// upgrade may be done before the namespace is joined, or after.
export async function connected(socket) {
  if (!socket.connected) {
    await within(new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', reject);
    }), 'connect');
  }
  const { engine, opts } = socket.io;
  const last = opts.transports.at(-1);
  if (engine.transport.name !== last) await event(engine, 'upgrade');
  assert.equal(engine.transport.name, last);
  return socket;
}

// eventually tries again until the function returns something true.
export async function eventually(what, check, ms = patience) {
  for (const end = performance.now() + ms; ;) {
    const result = await check();
    if (result) return result;
    assert.ok(performance.now() < end, `waited ${ms} ms in vain for ${what}`);
    await pause(10);
  }
}

// Inbox keeps what comes, in order, until it is asked for.
export class Inbox {
  #waiting = [];
  #asked = [];
  #end;

  put(item) {
    const asked = this.#asked.shift();
    if (asked) asked.resolve(item); else this.#waiting.push(item);
  }

  // end says that nothing more can come.
  end(error) {
    this.#end ??= error;
    for (const { reject } of this.#asked.splice(0)) reject(error);
  }

  next(what, ms) {
    if (this.#waiting.length) return Promise.resolve(this.#waiting.shift());
    if (this.#end) return Promise.reject(new Error(`no ${what}: ${this.#end.message}`));
    return within(new Promise((resolve, reject) => { this.#asked.push({ resolve, reject }); }), what, ms);
  }

  async take(n, what) {
    const all = [];
    while (all.length < n) all.push(await this.next(`${what} (${all.length + 1} of ${n})`));
    return all;
  }

  // rest returns what is there and nobody has asked for.
  rest() { return this.#waiting.splice(0); }
}
