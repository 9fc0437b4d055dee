// A WebSocket client of bytes: it sends whatever frames it is told to.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { Inbox, within } from './wait.js';

export const op = { more: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

// frame builds one frame, correct unless it is told otherwise. length is what the
// header says; form is how: 7, 16 or 64 bits.
export function frame(opcode, data = '', { fin = true, rsv = 0, masked = true, length, form } = {}) {
  const payload = Buffer.from(data);
  length = BigInt(length ?? payload.length);
  form ??= length < 126n ? 7 : length < 65536n ? 16 : 64;
  const head = [(fin ? 0x80 : 0) | rsv << 4 | opcode];
  const mask = masked ? 0x80 : 0;
  if (form === 7) {
    head.push(mask | Number(length));
  } else {
    head.push(mask | (form === 16 ? 126 : 127));
    const size = Buffer.alloc(8);
    size.writeBigUInt64BE(BigInt.asUintN(64, length));
    head.push(...size.subarray(form === 16 ? 6 : 0));
  }
  if (!masked) return Buffer.concat([Buffer.from(head), payload]);
  const key = randomBytes(4);
  return Buffer.concat([Buffer.from(head), key, payload.map((b, i) => b ^ key[i % 4])]);
}

// closing is the payload of a close frame.
export function closing(code, reason = '') {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(code);
  return Buffer.concat([b, Buffer.from(reason)]);
}

// Raw is a connection after its handshake.
export class Raw {
  #buffer = Buffer.alloc(0);
  frames = new Inbox();

  constructor(socket, head, rest) {
    Object.assign(this, { socket, head });
    this.gone = new Promise((resolve) => { socket.once('close', resolve); });
    socket.on('data', (b) => this.#read(b));
    socket.on('error', () => {}); // the end follows
    socket.on('end', () => this.frames.end(new Error('the connection has ended')));
    this.#read(rest);
  }

  // open makes a handshake. headers replace or add to the usual ones.
  static async open(server, path, headers = {}) {
    const { socket, head, rest, key } = await Raw.ask(server, path, headers);
    assert.match(head, /^HTTP\/1\.1 101 /);
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    const fields = new Map(head.split('\r\n').slice(1).map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 1).trim()]));
    assert.equal(fields.get('sec-websocket-accept'), accept);
    assert.equal(fields.get('upgrade').toLowerCase(), 'websocket');
    assert.equal(fields.get('connection').toLowerCase(), 'upgrade');
    return new Raw(socket, fields, rest);
  }

  // ask sends a handshake and returns the head of the answer, whatever it is.
  static ask(server, path, headers = {}, { method = 'GET', version = 'HTTP/1.1' } = {}) {
    const [host, port] = server.host.split(':');
    const key = randomBytes(16).toString('base64');
    const fields = { Host: server.host, Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Key': key,
      'Sec-WebSocket-Version': '13', ...headers };
    const lines = Object.entries(fields).filter(([, v]) => v !== undefined).map(([k, v]) => `${k}: ${v}\r\n`);
    return within(new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true }, () => socket.write(`${method} ${path} ${version}\r\n${lines.join('')}\r\n`));
      let got = Buffer.alloc(0);
      const data = (b) => {
        got = Buffer.concat([got, b]);
        const end = got.indexOf('\r\n\r\n');
        if (end < 0) return;
        socket.off('data', data);
        resolve({ socket, head: got.subarray(0, end).toString(), rest: got.subarray(end + 4), key });
      };
      socket.on('data', data);
      socket.on('error', reject);
      socket.on('close', () => reject(new Error(`closed before an answer: ${got}`)));
    }), 'the answer to a handshake');
  }

  send(...bytes) { if (this.socket.writable) this.socket.write(Buffer.concat(bytes)); }

  // sendSlowly sends each byte by itself.
  async sendSlowly(bytes) {
    for (const b of bytes) await new Promise((resolve) => { this.socket.write(Buffer.from([b]), resolve); });
  }

  #read(bytes) {
    this.#buffer = Buffer.concat([this.#buffer, bytes]);
    for (;;) {
      const b = this.#buffer;
      if (b.length < 2) return;
      const short = b[1] & 0x7f;
      const at = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (b.length < at) return;
      const length = short < 126 ? short : short === 126 ? b.readUInt16BE(2) : Number(b.readBigUInt64BE(2));
      if (b.length < at + length) return;
      this.#take({ fin: b[0] >> 7 === 1, rsv: b[0] >> 4 & 7, opcode: b[0] & 15, masked: b[1] >> 7 === 1, data: b.subarray(at, at + length) });
      this.#buffer = b.subarray(at + length);
    }
  }

  // Heartbeats are answered whether somebody waits for frames or not.
  #take(f) {
    if (f.opcode === op.ping) this.send(frame(op.pong, f.data));
    else if (f.opcode === op.text && f.data.equals(Buffer.from('2'))) this.send(frame(op.text, '3'));
    else this.frames.put(f);
  }

  async next(what = 'frame') {
    const f = await this.frames.next(what);
    assert.equal(f.masked, false, 'a server does not mask');
    return f;
  }

  async text(what = 'text') {
    const f = await this.next(what);
    assert.deepEqual([f.opcode, f.fin, f.rsv], [op.text, true, 0], `${what}: ${f.data}`);
    return f.data.toString();
  }

  // assertClosed holds the next frame to be a close of one of the codes, with
  // nothing after it. It answers, and returns the reason.
  async assertClosed(...codes) {
    const reason = await this.#close(codes);
    this.socket.end(frame(op.close, closing(1000)));
    await this.#assertGone();
    return reason;
  }

  // assertCloseAnswered is for a client that has closed first: the server answers,
  // and is the one that ends the connection (RFC 6455 section 7.1.1).
  async assertCloseAnswered(...codes) {
    await this.#close(codes);
    await this.#assertGone();
  }

  async #close(codes) {
    const f = await this.next('close');
    assert.equal(f.opcode, op.close, `${f.data}`);
    const code = f.data.length ? f.data.readUInt16BE(0) : 1005;
    const reason = f.data.subarray(2).toString();
    assert.ok(codes.includes(code), `closed with ${code} ${reason}, not ${codes}`);
    assert.ok(f.data.length <= 125);
    return reason;
  }

  async #assertGone() {
    await assert.rejects(this.frames.next('end'), /the connection has ended/, 'nothing comes after a close');
    await within(this.gone, 'the server to end the connection');
  }
}
