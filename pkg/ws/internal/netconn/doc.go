// Package netconn is a client's WebSocket: messages come in, frames go out of a bounded queue.
//
// The library coder/websocket accepts the connection, reads messages, answers pings and closes.
// Messages are written beside the library, straight to the socket, for these reasons:
//
//   - The library has no write that returns when the client is slow. Here a write takes what the
//     socket takes at once, so that a few loops write for all connections without waiting for
//     any. The rest goes to a goroutine of that connection alone. The library's way needs a
//     goroutine for each connection that gets something.
//   - The library writes each message to the socket by itself. Here all that waits for a
//     connection is one write(2), and 16 frames share a message.
//   - net/http and the library keep buffers of 4 KiB for each direction. Here an idle connection
//     keeps small ones, and the handshake's answer leaves with the first frame.
//
// socket.go says which rules make the two writers of a connection safe.
package netconn
