package report

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpreadOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   Spread
	}{
		{"none", nil, Spread{}},
		{"one", []float64{5}, Spread{Median: 5, Min: 5, Max: 5}},
		{"odd number", []float64{3, 1, 2}, Spread{Median: 2, Min: 1, Max: 3}},
		{"even number", []float64{4, 1, 2, 3}, Spread{Median: 2.5, Min: 1, Max: 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := SpreadOf(tt.values); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTableIsAligned(t *testing.T) {
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

func TestWriteReplacesTheSection(t *testing.T) {
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
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestEnvironmentNamesTheOtherBuild(t *testing.T) {
	e := Environment{Commit: "abc", Other: "def"}
	if got, want := e.String(), "commit abc, the other build def:"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	e.Other = ""
	if got, want := e.String(), "commit abc:"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
}

func TestReplaceSection(t *testing.T) {
	const page = "a\n<!-- bench:ledger -->\nold\nlines\n<!-- /bench:ledger -->\nb\n<!-- bench:path -->\n<!-- /bench:path -->\n"
	for _, tt := range []struct {
		section string
		text    string
		want    string
	}{
		{"ledger", "new\n\n", strings.Replace(page, "old\nlines\n", "new\n", 1)},
		{"path", "p", strings.Replace(page, "<!-- /bench:path -->", "p\n<!-- /bench:path -->", 1)},
	} {
		t.Run(tt.section, func(t *testing.T) {
			got, err := replaceSection([]byte(page), tt.section, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReplaceSectionNeedsBothMarkers(t *testing.T) {
	for _, page := range []string{"", "<!-- bench:ledger -->\n", "<!-- /bench:ledger -->\n<!-- bench:ledger -->\n"} {
		t.Run(page, func(t *testing.T) {
			if got, err := replaceSection([]byte(page), "ledger", nil); err == nil {
				t.Errorf("got %q, want an error", got)
			}
		})
	}
}
