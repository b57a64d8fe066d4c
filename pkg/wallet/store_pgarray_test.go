package wallet

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

var lastSecond = time.Date(1999, 12, 31, 23, 59, 59, 7_000_000, time.UTC)

// pgArrayCases fill an array of each element type. Postgres shows it as want.
var pgArrayCases = []struct {
	name    string
	element pgType
	fill    func(*pgArray)
	want    string
}{
	{
		name:    "text",
		element: pgText,
		fill: func(a *pgArray) {
			a.appendText(`a"b\c,{}`)
			a.appendText("")
			a.appendText("NULL")
			a.appendText("é")
		},
		want: `{"a\"b\\c,{}",NULL,"NULL",é}`,
	},
	{
		name:    "int8",
		element: pgInt8,
		fill: func(a *pgArray) {
			a.appendInt8(-1)
			a.appendNull()
			a.appendInt8(MaxAmount)
		},
		want: `{-1,NULL,9007199254740991}`,
	},
	{
		name:    "int2",
		element: pgInt2,
		fill: func(a *pgArray) {
			a.appendInt2(0)
			a.appendInt2(3)
		},
		want: `{0,3}`,
	},
	{
		name:    "uuid",
		element: pgUUID,
		fill: func(a *pgArray) {
			a.appendUUID(uuid.Nil)
			a.appendUUID(uuid.Max)
		},
		want: `{NULL,ffffffff-ffff-ffff-ffff-ffffffffffff}`,
	},
	{
		name:    "bytea",
		element: pgBytea,
		fill: func(a *pgArray) {
			a.appendBytes([]byte{0, 255})
			a.appendBytes(nil)
		},
		want: `{"\\x00ff","\\x"}`,
	},
	{
		name:    "timestamptz",
		element: pgTimestamptz,
		fill: func(a *pgArray) {
			a.appendTime(time.Time{})
			a.appendTime(lastSecond)
			a.appendTime(lastSecond.AddDate(30, 0, 0))
		},
		want: `{NULL,"1999-12-31 23:59:59.007+00","2029-12-31 23:59:59.007+00"}`,
	},
}

// TestPostgresReadsArraysAsTheyWereFilled has Postgres decode an array of each element type, twice
// with different contents and once without elements.
func TestPostgresReadsArraysAsTheyWereFilled(t *testing.T) {
	t.Parallel()
	s, err := openPostgres(t.Context(), newPostgresDatabase(t), Config{MaxConns: 1, MaxReadConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	_, err = s.db.ExecContext(t.Context(), "SET TimeZone = 'UTC'")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range pgArrayCases {
		t.Run(tc.name, func(t *testing.T) {
			a := newPgArray(tc.element)
			for range 2 {
				tc.fill(&a)
				checkEqual(t, "array", decodePgArray(t, s, tc.name, &a), tc.want)
				a.reset()
				checkEqual(t, "empty array", decodePgArray(t, s, tc.name, &a), "{}")
				a.reset()
			}
		})
	}
}

// decodePgArray returns the array in the text form of Postgres.
func decodePgArray(t *testing.T, s *postgresStore, element string, a *pgArray) string {
	t.Helper()
	var text string
	err := s.db.GetContext(t.Context(), &text, "SELECT $1::"+element+"[]::text", a.encode())
	if err != nil {
		t.Fatal(err)
	}
	return text
}
