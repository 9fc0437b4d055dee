// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// The backend of a chat with a typing indicator.
import { createServer } from 'node:http';

function reply({ type, user, event, args, query }) {
  switch (type) {
    case 'dev.klaxon.client.connected': {
      const name = query.name?.[0] ?? 'somebody';
      return { user: name, emit: [{ event: 'joined', args: [name], to: 'others' }] };
    }
    case 'dev.klaxon.client.disconnected':
      return { emit: [{ event: 'left', args: [user], to: 'others' }] };
  }
  switch (event) {
    case 'chat message':
      return { ack: ['delivered'], emit: [{ event, args: [user, ...args], to: 'all' }] };
    case 'typing':
    case 'stop typing':
      return { emit: [{ event, args: [user], to: 'others' }] };
  }
  return {};
}

createServer(async (request, response) => {
  let body = '';
  for await (const part of request.setEncoding('utf8')) body += part;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(reply(JSON.parse(body))));
}).listen(process.env.PORT, '127.0.0.1');
