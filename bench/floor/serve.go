package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
)

// serve shakes hands and takes the connection over.
func (f *floor) serve(w http.ResponseWriter, r *http.Request) {
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
	go f.read(tcp, in)
}

// read takes the client's one subscription and then waits for its end.
func (f *floor) read(conn *net.TCPConn, in io.Reader) {
	defer func() { _ = conn.Close() }()
	payload, err := readFrame(bufio.NewReaderSize(in, 512))
	if err != nil {
		return
	}
	var hello struct {
		Accounts []string         `json:"accounts"`
		After    map[string]int64 `json:"after"`
	}
	if err := json.Unmarshal(payload, &hello); err != nil || len(hello.Accounts) != 1 {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	c := &client{conn: conn}
	if err := raw.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil { //nolint:gosec // descriptors are small
		return
	}
	name := hello.Accounts[0]
	after, ok := hello.After[name]
	if !ok {
		after = -1
	}
	f.subscribe(c, name, after)
	defer f.leave(c, name)
	var b [64]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
	}
}

// readFrame reads a client's frame of less than 64 KiB.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return nil, err
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
		size = int(binary.BigEndian.Uint16(head[2:]))
	}
	frame := make([]byte, 4+size)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	for i := range size {
		frame[4+i] ^= frame[i%4]
	}
	return frame[4:], nil
}
