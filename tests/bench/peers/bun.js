// The same two apps on Bun, a peer of the benchmark: `bun bun.js echo` or `bun bun.js fan`.
const fan = process.argv[2] === "fan";
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("websocket only", { status: 426 })),
  websocket: {
    open: (socket) => { if (fan) socket.subscribe("bench"); },
    message: (socket, message) => (fan ? server.publish("bench", message) : socket.send(message)),
    maxPayloadLength: 16 * 1024 * 1024,
  },
});
console.error(`listening on 127.0.0.1:${server.port}`);
