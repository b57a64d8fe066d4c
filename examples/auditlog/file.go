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
)

// record is a line of the file.
type record struct {
	Account string          `json:"account"`
	Seq     int64           `json:"seq"`
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Key     string          `json:"key,omitempty"`
	Data    json.RawMessage `json:"data"` // the full event
}

// auditFile is an append-only file of records. Its methods may be called from several
// goroutines, for one account by one at a time.
type auditFile struct {
	file *os.File

	writing sync.Mutex // held while a batch is written

	mu    sync.Mutex // protects what follows
	track tracker
	open  *batch
	err   error // the first failure: nothing is written after it
}

// batch is what goes to disk with one sync.
type batch struct {
	lines []byte
	led   bool          // somebody is about to write it
	done  chan struct{} // closed when it was written
	err   error         // set before that
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// openFile opens or makes a file for this process alone, reads it, and cuts off a last
// line that was not written to its end.
func openFile(path string) (f *auditFile, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	if err := lock(file); err != nil {
		return nil, fmt.Errorf("%s is in use by another process: %w", path, err)
	}
	track, whole, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := file.Truncate(whole); err != nil {
		return nil, err
	}
	if err := errors.Join(file.Sync(), syncDirectory(filepath.Dir(path))); err != nil {
		return nil, err
	}
	return &auditFile{file: file, track: track, open: newBatch()}, nil
}

// syncDirectory makes a new file's name survive a power cut.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// read reads records; whole is where the last complete line ends. A line that is no
// record, or that repeats one, is an error: only others than this program write such.
func read(r io.Reader) (track tracker, whole int64, err error) {
	track.accounts = map[string]*account{}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return track, whole, nil
		} else if err != nil {
			return track, whole, err
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return track, whole, fmt.Errorf("line %d: %w", n, err)
		}
		if rec.Account == "" || rec.Seq < 1 {
			return track, whole, fmt.Errorf("line %d has no account or no seq", n)
		}
		if fresh, _ := track.take(rec.Account, rec.Seq); !fresh {
			return track, whole, fmt.Errorf("line %d: %s already has seq %d", n, rec.Account, rec.Seq)
		}
		whole += int64(len(line))
	}
}

// append returns when the line, and all before it, is on disk. Those who call at the same
// time share a sync. A record that the file has is not written again. hole is what
// turned out to be missing before it.
func (f *auditFile) append(account string, seq int64, line []byte) (hole span, err error) {
	f.mu.Lock()
	b := f.open
	fresh, hole := f.track.take(account, seq)
	if fresh {
		b.lines = append(append(b.lines, line...), '\n')
	}
	first := !b.led
	b.led = true
	f.mu.Unlock()
	if first {
		f.write(b)
	}
	<-b.done
	return hole, b.err
}

// write waits for the batch before this one; meanwhile this one gathers.
func (f *auditFile) write(b *batch) {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.Lock()
	f.open, b.err = newBatch(), f.err
	f.mu.Unlock()
	if len(b.lines) > 0 && b.err == nil {
		// After a failed sync nobody knows what is on disk, so there is no second try.
		if _, b.err = f.file.Write(b.lines); b.err == nil {
			b.err = f.file.Sync()
		}
		f.mu.Lock()
		f.err = b.err
		f.mu.Unlock()
	}
	close(b.done)
}

// state is nil when the file has all events; the error is errMissing, or what writing failed with.
func (f *auditFile) state() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return fmt.Errorf("write the file: %w", f.err)
	}
	return f.track.complete()
}

func (f *auditFile) close() error { return f.file.Close() }
