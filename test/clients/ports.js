// Free ports for processes that are started with them.
import { once } from 'node:events';
import { createServer } from 'node:net';

// The kernel takes the ports of outgoing connections from above this (32768 to 60999
// unless configured): a port from below it stays free until it is listened on.
const [lowest, highest] = [20_000, 32_000];

// freePort is one that nobody listens on, on any address.
export async function freePort() {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    const probe = createServer();
    const free = await new Promise((resolve) => { probe.on('error', () => resolve(false)).listen(port, () => resolve(true)); });
    if (!free) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
  throw new Error('no free port');
}
