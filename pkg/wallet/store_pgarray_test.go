package wallet

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// Each kind of value comes back from Postgres as it went, and so does an empty array.
func TestArraysAreWhatPostgresReads(t *testing.T) {
	t.Parallel()
	s, err := openPostgres(t.Context(), postgresDatabase(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	at := time.Date(1999, 12, 31, 23, 59, 59, 7_000_000, time.UTC)
	for kind, c := range map[string]struct {
		fill func(*array)
		want string
	}{
		"text":        {func(a *array) { a.text(`a"b\c,{}`); a.text(""); a.text("NULL"); a.text("é") }, `{"a\"b\\c,{}",NULL,"NULL",é}`},
		"int8":        {func(a *array) { a.int(-1); a.null(); a.int(MaxAmount) }, `{-1,NULL,9007199254740991}`},
		"int2":        {func(a *array) { a.small(0); a.small(3) }, `{0,3}`},
		"uuid":        {func(a *array) { a.uuid(uuid.Nil); a.uuid(uuid.Max) }, `{NULL,ffffffff-ffff-ffff-ffff-ffffffffffff}`},
		"bytea":       {func(a *array) { a.bytes([]byte{0, 255}); a.bytes(nil) }, `{"\\x00ff","\\x"}`},
		"timestamptz": {func(a *array) { a.time(time.Time{}); a.time(at); a.time(at.AddDate(30, 0, 0)) }, `{NULL,"1999-12-31 23:59:59.007+00","2029-12-31 23:59:59.007+00"}`},
	} {
		var a array
		for range 2 {
			c.fill(&a)
			var got string
			if err := s.db.GetContext(t.Context(), &got, "SELECT set_config('TimeZone', 'UTC', false)"); err != nil {
				t.Fatal(err)
			}
			if err := s.db.GetContext(t.Context(), &got, "SELECT $1::"+kind+"[]::text", a.value()); err != nil || got != c.want {
				t.Errorf("%s: %s, want %s (%v)", kind, got, c.want, err)
			}
			a.reset()
			if err := s.db.GetContext(t.Context(), &got, "SELECT $1::"+kind+"[]::text", a.value()); err != nil || got != "{}" {
				t.Errorf("%s, empty: %s (%v)", kind, got, err)
			}
			a.reset()
		}
	}
}
