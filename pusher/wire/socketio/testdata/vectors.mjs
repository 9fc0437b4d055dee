// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Writes vectors.json: what npm's socket.io-parser makes of messages, and how it
// writes packets. It is the one that the benchmark's peer is locked to:
//
//   (cd test/bench/peers/socketio && npm ci)
//   node pusher/wire/socketio/testdata/vectors.mjs

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const peer = new URL("../../../../test/bench/peers/socketio/package.json", import.meta.url);
const require = createRequire(peer);
const { Decoder, Encoder } = require("socket.io-parser");
const { version } = require("./package-lock.json").packages["node_modules/socket.io-parser"];

// A fixed sequence of numbers, so that a run writes what the last one wrote.
let state = 0x2545f491;
const random = (n) => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % n;
};
const pick = (list) => list[random(list.length)];

const one = { base64: "AQID" };
const two = { base64: "/w==" };
const none = { base64: "" };
const ph = (num) => `{"_placeholder":true,"num":${num}}`;

const single = [
  // Types.
  "", " ", "a", "7", "9", "-1", "0", "1", "2", "3", "4", "5", "6", "\u0662",
  // CONNECT.
  "0{}", '0{"token":"x"}', "0/orders", "0/orders,", '0/orders,{"token":"x"}', "0[]", "0null", '0"x"', "01", "0{", "0/", "0/,", "0/?a=b", "0/orders?a=b,", '0/orders?a=b,{"t":1}', "0//a,", "0 {}", "0{} ", "0{}x", "0/ä,{}",
  // DISCONNECT.
  "1/orders,", "1/orders", "1{}", "1null", '1/orders,"bye"', "15",
  // EVENT.
  '2["a"]', '2["a",1,null,{"b":[1,2]}]', '2["a","]",[","],"\\"","\\\\"]', '2[ "a" , 1 ]', "2[]", "2[1]", "2[-1.5e3,2]", "2[null]", "2[true]", '2[["a"]]', '2[{"a":1}]', '2{"0":"a"}', '2"a"', '2["a"', '2["a",]', '2["a"]]', '2["a"] ', '2 ["a"]', '2\n["a"]', '2\u00a0["a"]', '2["a"]x',
  '2["connect"]', '2["connect_error"]', '2["disconnect"]', '2["disconnecting"]', '2["newListener"]', '2["removeListener"]', '2["\\u0063onnect"]', '2["Connect"]', '2["connecting"]', '2["error"]', '2[""]', '2["__proto__"]',
  '2/orders,["a"]', '2/orders["a"]', '2/orders["a",1]', '2/orders,', '2/orders?x=1,["a"]', '2/,["a"]', '2,["a"]', '2orders,["a"]', '2/a/b,12["a"]', '2["a",1e999]', '2["a",01]', '2["\\ud800"]', '2["a\u2028"]', "2['a']", '2["a\n"]', '2["a\\n"]',
  // Ids.
  '20["a"]', '212["a"]', '2007["a"]', '29007199254740991["a"]', '29007199254740992["a"]', '299999999999999999999999["a"]', '2-1["a"]', '21.5["a"]', '21e3["a"]', '2+1["a"]', '20x1["a"]', "212", '21 ["a"]', '21 2["a"]', '21/orders,["a"]', '2\u0661["a"]',
  // ACK.
  "30[]", '31["a"]', '31["connect"]', "31[null]", "31{}", "31", "3[]", '3/orders,12["ok"]', "31null",
  // CONNECT_ERROR.
  '4{"message":"x"}', '4"x"', '4""', "4[]", "41", "4null", '4/orders,{"message":"x"}',
  // Attachments that are none or too many.
  '50-["a"]', '5-["a"]', '5["a"]', '51["a"]', '5a-["a"]', '5-1-["a"]', '51.0-["a"]', '51e0-["a"]', '50x1-["a"]', '5 1-["a"]', `511-["a",${ph(0)}]`, '5999999999999999999999-["a"]', '51', '51-', "60-1[]", "6-1[]",
];

const sequences = [
  [`51-["a",${ph(0)}]`, one],
  [`52-["a",${ph(0)},${ph(1)}]`, one, two],
  [`52-["a",${ph(1)},${ph(0)}]`, one, two],
  [`51-["a",${ph(0)},${ph(0)}]`, one],
  [`51-["a",{"b":[1,${ph(0)}]}]`, none],
  [`51-/orders,12["a",${ph(0)}]`, one],
  [`51-/orders?x=1,["a",${ph(0)}]`, one],
  [`61-/orders,12[${ph(0)}]`, one],
  [`61-12[${ph(0)}]`, one],
  [`61-[${ph(0)}]`, one],
  [`61-12[]`, one],
  ['51-["a"]', one],
  [`501-["a",${ph(0)}]`, one],
  [`510-["a",${ph(9)}]`, ...Array(10).fill(one)],
  [`51-["a",${ph(1)}]`, one],
  [`51-["a",${ph(-1)}]`, one],
  [`51-["a",${ph('"0"')}]`, one],
  [`51-["a",${ph("null")}]`, one],
  [`51-["a",${ph("0.0")}]`, one],
  [`51-["a",${ph("0e5")}]`, one],
  [`51-["a",${ph("-0")}]`, one],
  [`51-["a",${ph("0.5")}]`, one],
  [`51-["a",${ph("1e999")}]`, one],
  ['51-["a",{"_placeholder":true}]', one],
  ['51-["a",{"_placeholder":false,"num":7}]', one],
  ['51-["a",{"_placeholder":"true","num":7}]', one],
  ['51-["a",{"_placeholder":1,"num":7}]', one],
  ['51-["a",{"_placeholder":true,"num":7,"num":0}]', one],
  ['51-["a",{"_placeholder":true,"num":0,"num":7}]', one],
  ['51-["a",{"_placeholder":true,"_placeholder":false,"num":7}]', one],
  ['51-["a",{"\\u005fplaceholder":true,"num":7}]', one],
  [`51-["a",{"_placeholder":true,"num":0,"x":${ph(7)}}]`, one],
  [`51-["a",{"_placeholder":${ph(0)},"num":7}]`, one],
  [`51-["a",{"_placeholder":${ph(7)},"num":0}]`, one],
  [`51-[${ph(0)}]`, one],
  [`51-["connect",${ph(0)}]`, one],
  [`51-`, one],
  [`2["a",${ph(7)}]`],
  [one],
  [`51-["a",${ph(0)}]`, '2["b"]'],
  [`51-["a",${ph(0)}]`, one, one],
  [`51-["a",${ph(0)}]`, one, '2["b"]'],
  ["0{}", '20["join","a"]', `51-1["b",${ph(0)}]`, two, "1"],
];

// Each part of a packet, mostly as it should be.
const noise = ["0", "12", "-", "/", ",", "?a=b", " ", "[", "]", "{}", '"a"', "null", "é"];
const payloads = ['["a"]', '["a",1]', `["a",${ph(0)}]`, `[7,{"b":${ph(1)}}]`, "[]", "{}", '{"a":1}', '"a"', '["connect"]', ""];
for (let i = 0; i < 700; i++) {
  const type = random(7);
  const count = type > 4 ? pick(["1-", "1-", "2-", "2-", "0-", ""]) : "";
  const mistake = () => (random(12) === 0 ? pick(noise) : "");
  const text = [type, count, pick(["", "", "/orders,", "/a/b?c=d,", "/,"]), pick(["", "", "0", "12"]), pick(payloads)];
  const s = [text.map((part) => part + mistake()).join("")];
  for (let n = parseInt(count || "0") + pick([0, 0, 0, 0, 1, -1]); n > 0; n--) s.push(pick([one, two, none]));
  if (random(8) === 0) s.push('2["b"]');
  sequences.push(s);
}

// Data as the test reads them: bytes are {"$bytes":base64}.
const plain = (v) => {
  if (Buffer.isBuffer(v)) return { $bytes: v.toString("base64") };
  if (Array.isArray(v)) return v.map(plain);
  if (v && typeof v === "object") return Object.fromEntries(Object.entries(v).map(([k, e]) => [k, plain(e)]));
  return v;
};

const seen = new Set();
const decode = [];
for (const messages of [...single.map((s) => [s]), ...sequences]) {
  const key = JSON.stringify(messages);
  if (seen.has(key)) continue;
  seen.add(key);
  // What becomes of each message: a packet, null while more is to come, or refusal.
  const steps = [];
  const decoder = new Decoder();
  let packet;
  decoder.on("decoded", ({ type, nsp, id, data }) => (packet = { type, nsp, id, data: plain(data) }));
  for (const m of messages) {
    packet = null;
    try {
      decoder.add(typeof m === "string" ? m : Buffer.from(m.base64, "base64"));
    } catch {
      steps.push("refused");
      break;
    }
    steps.push(packet);
  }
  decode.push({ messages, steps });
}

const bytes = Buffer.from([0, 1, 255]);
const encode = [
  { type: 0, nsp: "/", data: { sid: "S" } },
  { type: 0, nsp: "/orders", data: { sid: "S", pid: "P" } },
  { type: 1, nsp: "/" },
  { type: 1, nsp: "/orders" },
  { type: 2, nsp: "/", data: ["created", { a: [1, null] }] },
  { type: 2, nsp: "/orders", data: ["created", { a: [1, null] }] },
  { type: 2, nsp: "/orders", data: ["created", 1, "e.41"] },
  { type: 2, nsp: "/orders", data: ['"ä\n', "x", "e.41"] },
  { type: 2, nsp: "/orders", data: ["created", bytes] },
  { type: 2, nsp: "/", data: ["created", bytes, "e.41"] },
  { type: 2, nsp: "/", data: ["created", Buffer.alloc(0)] },
  { type: 3, nsp: "/", id: 0, data: [] },
  { type: 3, nsp: "/orders", id: 12, data: [{ rooms: ["a"] }] },
  { type: 4, nsp: "/", data: { message: "Invalid namespace" } },
  { type: 4, nsp: "/orders", data: { message: "no", data: { code: "token" } } },
].map((packet) => {
  const shown = { ...packet, data: plain(packet.data) };
  const messages = new Encoder().encode(packet).map((m) => (typeof m === "string" ? m : { base64: m.toString("base64") }));
  return { packet: shown, messages };
});

const lines = (list) => "[\n" + list.map((v) => JSON.stringify(v)).join(",\n") + "\n]";
writeFileSync(
  new URL("vectors.json", import.meta.url),
  `{"parser":${JSON.stringify("socket.io-parser " + version)},\n"decode":${lines(decode)},\n"encode":${lines(encode)}}\n`,
);
