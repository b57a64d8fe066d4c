package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 requires it
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
)

// acceptClient answers the handshake and takes over the connection.
func (f *floor) acceptClient(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}

	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return
	}

	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 section 4.2.2
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Protocol: wallet.v1\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	if err != nil {
		_ = conn.Close()
		return
	}

	in := io.Reader(conn)
	if buffered.Reader.Buffered() > 0 {
		in = buffered.Reader
	}

	go f.readClient(tcp, in)
}

// readClient reads the client's one subscription and then waits for the end of the connection.
func (f *floor) readClient(conn *net.TCPConn, in io.Reader) {
	defer func() { _ = conn.Close() }()
	payload, err := readFrame(bufio.NewReaderSize(in, 512))
	if err != nil {
		return
	}

	var hello struct {
		Accounts []string         `json:"accounts"`
		After    map[string]int64 `json:"after"`
	}
	err = json.Unmarshal(payload, &hello)
	if err != nil || len(hello.Accounts) != 1 {
		return
	}

	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}

	c := &client{conn: conn}
	err = raw.Control(func(fd uintptr) { c.fd = int(fd) }) //nolint:gosec // descriptors are small
	if err != nil {
		return
	}

	name := hello.Accounts[0]
	after, ok := hello.After[name]
	if !ok {
		after = -1
	}

	f.addClient(c, name, after)
	defer f.removeClient(c, name)
	var b [64]byte
	for {
		_, err := conn.Read(b[:])
		if err != nil {
			return
		}
	}
}

// readFrame reads a frame of a client, of less than 64 KiB, and returns its payload.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	_, err := io.ReadFull(r, head[:2])
	if err != nil {
		return nil, err
	}

	size := int(head[1] & 0x7f)
	if size == 126 {
		_, err := io.ReadFull(r, head[2:])
		if err != nil {
			return nil, err
		}

		size = int(binary.BigEndian.Uint16(head[2:]))
	}

	frame := make([]byte, 4+size)
	_, err = io.ReadFull(r, frame)
	if err != nil {
		return nil, err
	}

	for i := range size {
		frame[4+i] ^= frame[i%4]
	}

	return frame[4:], nil
}
