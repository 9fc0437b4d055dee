// A proxy between clients and a server whose cable can be pulled.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export async function proxy(host) {
  const [address, port] = host.split(':');
  const pairs = new Set();
  let down = false;
  const listener = createServer((client) => {
    if (down) {
      client.destroy();
      return;
    }
    const server = connect(Number(port), address);
    const pair = [client, server];
    const end = () => {
      for (const side of pair) side.destroy();
      pairs.delete(pair);
    };
    pairs.add(pair);
    for (const side of pair) side.on('error', end).on('close', end);
    client.pipe(server).pipe(client);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => {
    for (const side of [...pairs].flat()) {
      side.destroy();
    }
  };
  return {
    host: `127.0.0.1:${listener.address().port}`,
    // cut breaks every connection, in the middle of whatever it carries.
    cut,
    // pull breaks every connection, and takes no other until plug.
    pull() { down = true; cut(); },
    plug() { down = false; },
    close() { cut(); listener.close(); },
  };
}
