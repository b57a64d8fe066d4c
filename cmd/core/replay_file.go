package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// replayWriter writes events to a file or to the standard output.
type replayWriter struct {
	cmd      *replayCmd
	ledger   *wallet.Ledger
	from, to time.Time
	out      io.Writer
	file     *os.File    // nil: the standard output
	place    replayPlace // the newest one on disk
	written  int
}

// replayPlace is the content of FILE.cursor: the size of the complete part of the file, and the cursor
// of the next page.
type replayPlace struct {
	Size   int64  `json:"size"`
	Cursor string `json:"cursor"`
}

func (w *replayWriter) write(env *cli.Env) error {
	w.out = env.Stdout
	w.place.Cursor = w.cmd.Cursor
	if w.cmd.Output != "-" {
		err := w.openFile()
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		defer func() { _ = w.file.Close() }()
	}

	isContinued := w.place.Size > 0
	for {
		began := time.Now()
		page, err := w.ledger.AllEvents(env.Context, wallet.EventQuery{Cursor: w.place.Cursor, From: w.from, Limit: w.pageSize()})
		if err != nil {
			return describeReplayError(err)
		}
		count, err := w.writePage(&page)
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		if !page.More {
			break
		}
		if w.cmd.Rate > 0 {
			pause := time.Duration(float64(count) / w.cmd.Rate * float64(time.Second))
			err := sleepUntil(env.Context, began.Add(pause))
			if err != nil {
				return describeReplayError(err)
			}
		}
	}
	if w.file == nil {
		return nil
	}
	text := "%d events were written to %s\n"
	if isContinued {
		text = "%d events were added to %s; with --restart, all events are written again\n"
	}
	_, err := fmt.Fprintf(env.Stdout, text, w.written, w.cmd.Output)
	return err
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pageSize returns the number of events in a page. With a low rate a page takes about a second.
func (w *replayWriter) pageSize() int {
	const most = 1000
	if w.cmd.Rate <= 0 || w.cmd.Rate >= most {
		return most
	}
	return max(1, int(w.cmd.Rate))
}

// openFile opens the file and removes what follows the stored place.
func (w *replayWriter) openFile() error {
	file, err := os.OpenFile(w.cmd.Output, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	w.file = file
	w.out = file
	stored, err := os.ReadFile(w.placePath())
	switch {
	case w.cmd.Restart || errors.Is(err, os.ErrNotExist):
		err = w.refuseForeignFile()
	case err == nil:
		err = json.Unmarshal(stored, &w.place)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	err = file.Truncate(w.place.Size)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	_, err = file.Seek(w.place.Size, io.SeekStart)
	return err
}

// refuseForeignFile returns an error if the file has content that no replay has written.
func (w *replayWriter) refuseForeignFile() error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 && !w.cmd.Restart {
		return fmt.Errorf("%s must be empty or have a %s; --restart replaces it", w.cmd.Output, filepath.Base(w.placePath()))
	}
	return nil
}

func (w *replayWriter) placePath() string { return w.cmd.Output + ".cursor" }

// writePage writes a page and syncs it before it stores the place after it.
func (w *replayWriter) writePage(page *wallet.EventPage) (count int, err error) {
	var lines []byte
	for i := range page.Events {
		e := &page.Events[i]
		isWanted := (w.cmd.Copies || !e.SecondParty) && (w.to.IsZero() || coreapi.EventTime(e).Before(w.to))
		if isWanted {
			lines = append(coreapi.AppendStreamEvent(lines, e), '\n')
			count++
		}
	}
	_, err = w.out.Write(lines)
	if err != nil {
		return 0, err
	}
	w.written += count
	w.place.Size += int64(len(lines))
	w.place.Cursor = page.Next
	if w.file == nil {
		return count, nil
	}
	err = w.file.Sync()
	if err != nil {
		return 0, err
	}
	return count, w.storePlace()
}

func (w *replayWriter) storePlace() error {
	content, err := json.Marshal(w.place)
	if err != nil {
		return err
	}
	temporary := w.placePath() + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(temporary, w.placePath())
}
