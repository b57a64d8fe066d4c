package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// devFiles are the files that dev makes in --data, besides the lock: the ledger, the files of SQLite
// beside it, and the lock of migrations.
var devFiles = []string{
	devDatabase,
	devDatabase + "-journal",
	devDatabase + "-shm",
	devDatabase + "-wal",
	devDatabase + ".migrate-lock",
	devDatabase + ".migrate-lock-journal",
}

// resetData deletes the ledger in --data, if --reset says so. Other files stay. The caller has locked
// the directory, so no other process uses the ledger.
func (c devCmd) resetData(out io.Writer) error {
	if !c.Reset {
		return nil
	}

	deleted := 0
	for _, name := range devFiles {
		file := filepath.Join(c.Data, name)
		err := os.Remove(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("--reset: %w", err)
		}
		deleted++
		_, err = fmt.Fprintf(out, "deleted %s\n", file)
		if err != nil {
			return err
		}
	}
	if deleted > 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "nothing to delete in %s\n", c.Data)
	return err
}
