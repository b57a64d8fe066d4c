package report

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{5}, Spread{5, 5, 5}},
		{[]float64{3, 1, 2}, Spread{2, 1, 3}},
		{[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
	} {
		if got := SpreadOf(tt.values); got != tt.want {
			t.Errorf("%v: got %+v, want %+v", tt.values, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	table := NewTable("what", "µs")
	table.Row("core", "1,234")
	table.Row("ü", "–")
	var b strings.Builder
	if err := table.Write(&b); err != nil {
		t.Fatal(err)
	}
	const want = "| what |    µs |\n|------|------:|\n| core | 1,234 |\n| ü    |     – |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.123: "0.12", 12.34: "12.3", 123.4: "123", 999.6: "1000", 1234: "1,234", 1234567.8: "1,234,568",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

type document struct{}

func (document) Name() string { return "fanout" }

func (document) Text(w io.Writer) error {
	_, err := io.WriteString(w, "figures\n")
	return err
}

func TestWriteIntoASection(t *testing.T) {
	const page = "<!-- bench:fanout -->\n<!-- /bench:fanout -->\n<!-- bench:pairs-fanout -->\n<!-- /bench:pairs-fanout -->\n"
	for _, section := range []string{"fanout", "pairs-fanout"} {
		t.Run(section, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "README.md")
			if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
				t.Fatal(err)
			}
			o := Options{Readme: file}
			if section != (document{}).Name() {
				o.Section = section
			}
			if err := Write(io.Discard, document{}, o); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(file)
			want := strings.Replace(page, "<!-- bench:"+section+" -->\n", "<!-- bench:"+section+" -->\nfigures\n", 1)
			if err != nil || string(got) != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestEnvironmentNamesTheOtherBuild(t *testing.T) {
	e := Environment{Commit: "abc", Other: "def"}
	if got := e.String(); !strings.Contains(got, "commit abc, the other build def:") {
		t.Errorf("got %s", got)
	}
	e.Other = ""
	if got := e.String(); !strings.Contains(got, "commit abc:") {
		t.Errorf("got %s", got)
	}
}

func TestReplace(t *testing.T) {
	const page = "a\n<!-- bench:ledger -->\nold\nlines\n<!-- /bench:ledger -->\nb\n<!-- bench:path -->\n<!-- /bench:path -->\n"
	got, err := replace([]byte(page), "ledger", []byte("new\n\n"))
	want := strings.Replace(page, "old\nlines\n", "new\n", 1)
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if got, err = replace([]byte(page), "path", []byte("p")); err != nil || !strings.HasSuffix(string(got), "-->\np\n<!-- /bench:path -->\n") {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "<!-- bench:ledger -->\n", "<!-- /bench:ledger -->\n<!-- bench:ledger -->\n"} {
		if got, err := replace([]byte(bad), "ledger", nil); err == nil {
			t.Errorf("%q: got %q, want an error", bad, got)
		}
	}
}
