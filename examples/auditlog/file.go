package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// record is one line of the file.
type record struct {
	Account string          `json:"account"`
	Seq     int64           `json:"seq"`
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Key     string          `json:"key,omitempty"`
	Data    json.RawMessage `json:"data"` // the full event
}

// auditFile is an append-only file of records. Several goroutines may call its methods, but only
// one at a time for the same account.
type auditFile struct {
	file *os.File

	writing sync.Mutex // locked while a batch is written

	mu    sync.Mutex // protects the fields below
	track tracker
	open  *batch // the batch that collects lines
	err   error  // the first write error; nothing is written after it
}

// batch holds lines that are written with one sync.
type batch struct {
	lines     []byte
	hasWriter bool          // a goroutine has begun to write the batch or waits to write it
	done      chan struct{} // closed after the write
	err       error         // set before done is closed
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// openAuditFile opens or creates a file and locks it for this process. It reads the records and
// cuts off an incomplete last line.
func openAuditFile(path string) (f *auditFile, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()

	err = lockFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s is in use by another process: %w", path, err)
	}

	track, size, err := readRecords(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}

	err = file.Truncate(size)
	if err != nil {
		return nil, err
	}

	err = errors.Join(file.Sync(), syncDirectory(filepath.Dir(path)))
	if err != nil {
		return nil, err
	}
	return &auditFile{
		file:  file,
		track: track,
		open:  newBatch(),
	}, nil
}

// syncDirectory syncs a directory, so that the name of a new file survives a power failure.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// readRecords reads all complete lines and returns their size in bytes. It returns an error for a
// line that is not a record or that repeats a record. The program itself never writes one.
func readRecords(r io.Reader) (track tracker, size int64, err error) {
	track.accounts = map[string]*account{}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return track, size, nil
		}
		if err != nil {
			return track, size, err
		}

		var rec record
		err = json.Unmarshal(line, &rec)
		if err != nil {
			return track, size, fmt.Errorf("line %d: %w", n, err)
		}
		isEvent := rec.Seq > 0 || rec.Type == bus.TypeHistoryChanged
		if rec.Account == "" || !isEvent {
			return track, size, fmt.Errorf("line %d must have an account and a seq", n)
		}

		if isNew, _ := track.addRecord(&rec); !isNew {
			return track, size, fmt.Errorf("line %d repeats seq %d of %s", n, rec.Seq, rec.Account)
		}

		size += int64(len(line))
	}
}

// appendLine returns when the line and all lines before it are on disk. Concurrent calls share one
// sync. It does not write a record that the file has already. hole is the gap that the record
// revealed.
func (f *auditFile) appendLine(rec *record, line []byte) (hole span, err error) {
	f.mu.Lock()
	b := f.open
	isNew, hole := f.track.addRecord(rec)
	if isNew {
		b.lines = append(b.lines, line...)
		b.lines = append(b.lines, '\n')
	}

	mustWrite := !b.hasWriter
	b.hasWriter = true
	f.mu.Unlock()

	if mustWrite {
		f.writeBatch(b)
	}

	<-b.done
	return hole, b.err
}

// writeBatch waits until the batch before b is written. Meanwhile b collects more lines.
func (f *auditFile) writeBatch(b *batch) {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	f.open = newBatch()
	b.err = f.err
	f.mu.Unlock()

	if len(b.lines) > 0 && b.err == nil {
		// There is no second attempt: after a failed sync the content of the disk is unknown.
		_, b.err = f.file.Write(b.lines)
		if b.err == nil {
			b.err = f.file.Sync()
		}

		f.mu.Lock()
		f.err = b.err
		f.mu.Unlock()
	}

	close(b.done)
}

// hasEvents reports whether the file has events.
func (f *auditFile) hasEvents() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.track.accounts) > 0
}

// checkComplete returns nil if the file has all events. Otherwise it returns the write error or an
// error that wraps errMissing.
func (f *auditFile) checkComplete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return fmt.Errorf("write the file: %w", f.err)
	}
	return f.track.checkComplete()
}

func (f *auditFile) close() error { return f.file.Close() }
