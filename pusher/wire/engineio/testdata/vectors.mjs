// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Writes vectors.json: what npm's engine.io-parser makes of payloads, and how it
// writes packets. It is the one that the benchmark's peer is locked to:
//
//   (cd test/bench/peers/socketio && npm ci)
//   node pusher/wire/engineio/testdata/vectors.mjs

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const peer = new URL("../../../../test/bench/peers/socketio/package.json", import.meta.url);
const require = createRequire(peer);
const { decodePayload, encodePayload } = require("engine.io-parser");
const { version } = require("./package-lock.json").packages["node_modules/engine.io-parser"];

const types = { open: "0", close: "1", ping: "2", pong: "3", message: "4", upgrade: "5", noop: "6" };

// Packets as the test reads them: bytes are {base64}.
const plain = ({ type, data }) => ({
  type: types[type],
  ...(Buffer.isBuffer(data) ? { base64: data.toString("base64") } : { text: data ?? "" }),
});

// A fixed sequence of numbers, so that a run writes what the last one wrote.
let state = 0x2545f491;
const random = (n) => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % n;
};
const pick = (list) => list[random(list.length)];

const payloads = [
  "", "0", "1", "2", "2probe", "3probe", "4", "4hello", "5", "6", "7", "a", " 4", "-1", "10", "4ü€😀", "4\u0000",
  "b", "bAQID", "bAQI=", "bAQ==", "bAQ", "bAQ=", "b*", "bAQ=\n=", "bAQID ", "bAP8=", "b-_8=", "B", "bAR==", "bA",
  "4a\x1e4b", "4a\x1e", "\x1e4a", "\x1e", "4a\x1e\x1e4b", "4a\x1e7\x1e4b", "4a\x1ebAQID\x1e2", "4\x1e4\x1e4", "x\x1e4a",
  '40{"token":"x"}\x1e42["a",1]', '451-["a",{"_placeholder":true,"num":0}]\x1ebAQID',
];
const parts = ["0", "1", "2", "3", "4", "5", "6", "7", "b", "\x1e", "\x1e", "\x1e4", "\x1eb", "AQID", "AQI=", "A", "=", "probe", "ä", '["x"]', "\n"];
for (let i = 0; i < 300; i++) {
  payloads.push(Array.from({ length: 1 + random(7) }, () => pick(parts)).join(""));
}

const decode = [...new Set(payloads)].map((payload) => {
  const packets = decodePayload(payload, "nodebuffer");
  const refused = packets.at(-1).type === "error";
  return { payload, packets: packets.slice(0, refused ? -1 : undefined).map(plain), refused };
});

const encode = [
  [{ type: "message", data: "hello" }],
  [{ type: "message", data: "" }, { type: "ping" }, { type: "noop" }, { type: "close" }],
  [{ type: "message", data: Buffer.from([0, 255, 254]) }, { type: "message", data: "ä" }],
  [{ type: "message", data: Buffer.alloc(0) }],
  [{ type: "pong", data: "probe" }],
].map((packets) => {
  let payload;
  encodePayload(packets, (p) => (payload = p));
  return { packets: packets.map(plain), payload };
});

const lines = (list) => "[\n" + list.map((v) => JSON.stringify(v)).join(",\n") + "\n]";
writeFileSync(
  new URL("vectors.json", import.meta.url),
  `{"parser":${JSON.stringify("engine.io-parser " + version)},\n"decode":${lines(decode)},\n"encode":${lines(encode)}}\n`,
);
