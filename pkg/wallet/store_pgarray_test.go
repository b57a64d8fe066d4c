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
		element pgType
		fill    func(*pgArray)
		want    string
	}{
		"text":        {pgText, func(a *pgArray) { a.appendText(`a"b\c,{}`); a.appendText(""); a.appendText("NULL"); a.appendText("é") }, `{"a\"b\\c,{}",NULL,"NULL",é}`},
		"int8":        {pgInt8, func(a *pgArray) { a.appendInt8(-1); a.appendNull(); a.appendInt8(MaxAmount) }, `{-1,NULL,9007199254740991}`},
		"int2":        {pgInt2, func(a *pgArray) { a.appendInt2(0); a.appendInt2(3) }, `{0,3}`},
		"uuid":        {pgUUID, func(a *pgArray) { a.appendUUID(uuid.Nil); a.appendUUID(uuid.Max) }, `{NULL,ffffffff-ffff-ffff-ffff-ffffffffffff}`},
		"bytea":       {pgBytea, func(a *pgArray) { a.appendBytes([]byte{0, 255}); a.appendBytes(nil) }, `{"\\x00ff","\\x"}`},
		"timestamptz": {pgTimestamptz, func(a *pgArray) { a.appendTime(time.Time{}); a.appendTime(at); a.appendTime(at.AddDate(30, 0, 0)) }, `{NULL,"1999-12-31 23:59:59.007+00","2029-12-31 23:59:59.007+00"}`},
	} {
		a := newPgArray(c.element)
		for range 2 {
			c.fill(&a)
			var got string
			if err := s.db.GetContext(t.Context(), &got, "SELECT set_config('TimeZone', 'UTC', false)"); err != nil {
				t.Fatal(err)
			}
			if err := s.db.GetContext(t.Context(), &got, "SELECT $1::"+kind+"[]::text", a.encode()); err != nil || got != c.want {
				t.Errorf("%s: %s, want %s (%v)", kind, got, c.want, err)
			}
			a.reset()
			if err := s.db.GetContext(t.Context(), &got, "SELECT $1::"+kind+"[]::text", a.encode()); err != nil || got != "{}" {
				t.Errorf("%s, empty: %s (%v)", kind, got, err)
			}
			a.reset()
		}
	}
}
