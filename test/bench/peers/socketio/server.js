// A Socket.IO server as its documentation shows it, for WebSocket clients only. A
// client names its room in the auth of its CONNECT: 40{"ch":"5"}. POST /pub/ROOM
// emits the body to the room.
//   node server.js PORT
const http = require("http");
const { Server } = require("socket.io");

const server = http.createServer((request, response) => {
  if (request.method !== "POST" || !request.url.startsWith("/pub/")) {
    response.statusCode = 404;
    response.end();
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    io.to(request.url.slice("/pub/".length)).emit("message", Buffer.concat(chunks).toString());
    response.end("ok");
  });
});
const io = new Server(server, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => socket.join(socket.handshake.auth.ch));
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
