// node's ws against an echo server: node matrix.cjs ws://HOST:PORT/PATH. Ends with 0 if all went well.
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const { once } = require("node:events");
const WebSocket = require("ws");

const DEADLINE_MS = 120_000;
const LARGE_BYTES = 16 * 1024 * 1024;
const url = process.argv[2];

async function open(deflate, protocols = []) {
  // Threshold 0: with deflate on, every message is compressed.
  const perMessageDeflate = deflate ? { threshold: 0 } : false;
  const socket = new WebSocket(url, protocols, { perMessageDeflate, maxPayload: 2 * LARGE_BYTES });
  await once(socket, "open");
  return socket;
}

async function closed(socket, code, reason) {
  const end = once(socket, "close");
  socket.close(code, reason);
  return end;
}

async function received(socket) {
  const [data, isBinary] = await once(socket, "message");
  return isBinary ? data : data.toString();
}

async function echoes(socket, message) {
  const answer = received(socket);
  socket.send(message);
  const got = await answer;
  // Not deepStrictEqual: it would print both, and they are large.
  assert.ok(typeof got === typeof message && Buffer.from(got).equals(Buffer.from(message)),
    `sent ${typeof message} of ${message.length}, got ${typeof got} of ${got.length}`);
}

const steps = {
  async messages(deflate) {
    const socket = await open(deflate);
    assert.strictEqual(socket.extensions.includes("permessage-deflate"), deflate);
    const messages = ["hello", "", Buffer.alloc(0), Buffer.from([0, 255, 128]), "grüße, 🔔", "a".repeat(70_000), crypto.randomBytes(70_000)];
    for (const message of messages) await echoes(socket, message);
    await closed(socket, 1000, "");
  },

  async aThousandAtOnce(deflate) {
    const socket = await open(deflate);
    const got = [];
    const all = new Promise((done) => socket.on("message", (data) => { if (got.push(data.toString()) === 1000) done(); }));
    const sent = Array.from({ length: 1000 }, (_, number) => `message ${number} `.repeat(20));
    for (const message of sent) socket.send(message);
    await all;
    assert.ok(got.every((text, at) => text === sent[at]), "out of order or changed");
    await closed(socket, 1000, "");
  },

  async fragments(deflate) {
    const socket = await open(deflate);
    for (const parts of [["one ", "two ", "", "three"], Array(1000).fill("piece ")]) {
      const answer = received(socket);
      parts.forEach((part, at) => socket.send(part, { fin: at === parts.length - 1 }));
      assert.ok(await answer === parts.join(""), "fragments came back changed");
    }
    const answer = received(socket);
    const pong = once(socket, "pong");
    socket.send(Buffer.from([1]), { fin: false, binary: true });
    socket.ping("between fragments");
    socket.send(Buffer.from([2]), { fin: true, binary: true });
    assert.strictEqual((await pong)[0].toString(), "between fragments");
    assert.deepStrictEqual(await answer, Buffer.from([1, 2]));
    await closed(socket, 1000, "");
  },

  async ping(deflate) {
    const socket = await open(deflate);
    for (const payload of ["", "are you there?", "x".repeat(125)]) {
      const pong = once(socket, "pong");
      socket.ping(payload);
      assert.strictEqual((await pong)[0].toString(), payload);
    }
    await closed(socket, 1000, "");
  },

  async large(deflate) {
    const socket = await open(deflate);
    await echoes(socket, "t".repeat(LARGE_BYTES));
    await echoes(socket, crypto.randomBytes(LARGE_BYTES));
    await closed(socket, 1000, "");
  },

  async closeCodes(deflate) {
    for (const [code, reason] of [[1000, ""], [1000, "done"], [4001, "my own"], [3000, "r".repeat(123)]]) {
      const [got] = await closed(await open(deflate), code, reason);
      assert.strictEqual(got, code);
    }
  },

  async subprotocol(deflate) {
    const none = await open(deflate);
    assert.strictEqual(none.protocol, "");
    await closed(none, 1000, "");
  },

  async badText(deflate) {
    const socket = await open(deflate);
    const end = once(socket, "close");
    socket._sender.sendFrame([Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28])], () => {});
    assert.strictEqual((await end)[0], 1007);
  },
};

setTimeout(() => { console.error("deadline"); process.exit(3); }, DEADLINE_MS).unref();
(async () => {
  for (const deflate of [false, true]) {
    for (const [name, step] of Object.entries(steps)) {
      await step(deflate).catch((error) => { throw new Error(`${name}, deflate ${deflate}: ${error.message}`); });
      console.log(`ok ${name}, deflate ${deflate}`);
    }
  }
})().catch((error) => { console.error(error.message); process.exit(1); });
