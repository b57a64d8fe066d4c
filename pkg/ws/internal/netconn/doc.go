// Package netconn is the WebSocket connection of a client. Messages are read from the connection,
// and frames are written to it from a bounded send queue.
//
// The library coder/websocket accepts the connection, reads messages, answers pings and closes.
// This package writes messages itself, directly to the socket, for these reasons:
//
//   - The library cannot write without waiting for a slow client. Here a write gives the socket as
//     much as it accepts at once, so a few loops can write for all connections without waiting for
//     any of them. A goroutine of the connection writes the rest. With the library, each connection
//     that has something to write needs a goroutine.
//   - The library writes each message to the socket separately. Here one write(2) carries all
//     frames that wait for a connection, and up to 16 frames share a message.
//   - net/http and the library keep a 4 KiB buffer for each direction. Here an idle connection
//     keeps smaller buffers, and the handshake response is written together with the first frame.
//
// socket.go has the rules that make it safe for two writers to share a connection.
package netconn
