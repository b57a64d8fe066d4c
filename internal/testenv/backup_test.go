package testenv_test

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// TestRestoreReplacesTheDatabase changes a database after its backup, with open connections, and
// restores it.
func TestRestoreReplacesTheDatabase(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, testenv.Schema{})
	db := openDatabase(t, url)
	insert := func(n int) {
		t.Helper()
		_, err := openDatabase(t, url).ExecContext(t.Context(), `INSERT INTO items VALUES ($1)`, n)
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := db.ExecContext(t.Context(), `CREATE TABLE items (n bigint PRIMARY KEY)`)
	if err != nil {
		t.Fatal(err)
	}
	insert(1)
	backup := testenv.BackUpPostgres(t, url)
	insert(2)
	if got := countItems(t, openDatabase(t, url)); got != 2 {
		t.Errorf("rows before the restore: got %d, want 2", got)
	}
	backup.Restore()
	if got := countItems(t, openDatabase(t, url)); got != 1 {
		t.Errorf("rows after the restore: got %d, want the backup's 1", got)
	}
	insert(2)
	if got := countItems(t, openDatabase(t, url)); got != 2 {
		t.Errorf("rows after another change: got %d, want 2", got)
	}
}
