//go:build linux

package compare

import (
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"
)

func TestOutcomeShowsFiguresAndRatios(t *testing.T) {
	o := &Outcome{
		Intro: "Few clients.", LoadName: "events/s", Rounds: 3, name: "x",
		Columns: []Column{{Name: "CPU µs", Ratio: true}, {Name: "p50 ms", Plain: true}},
	}
	for round, v := range []float64{8, 10, 12} {
		o.Results = append(o.Results,
			Result{Round: round + 1, Server: "gateway", Load: "20", Values: []float64{v, v}},
			Result{Round: round + 1, Server: "peer", Load: "20", Values: []float64{20, 0}, others: 3})
	}
	var b strings.Builder
	if err := o.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Few clients. 3 rounds.",
		"gateway | 10.0 (8.00 to 12.0) |",
		"|   10.0 |",
		"peer |",
		"20.0 |",
		"|      0 |",
		"3 % |",
		"gateway / peer | 0.50 (0.40 to 0.60) |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got text\n%s\nwant %q in it", b.String(), want)
		}
	}
	encoded, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"figures":{"CPU µs":8,"p50 ms":8}`; !strings.Contains(string(encoded), want) {
		t.Errorf("got JSON %s, want %s in it", encoded, want)
	}
}

func TestOtherBuildIsMeasuredNextToTheGateway(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"not given", nil, []string{"gateway", "floor"}},
		{"default servers", []string{"--other", "/x"}, []string{"gateway", "gateway-other", "floor"}},
		{"named", []string{"--other", "/x", "--servers", "gateway-other,gateway"}, []string{"gateway-other", "gateway"}},
		{"without the gateway", []string{"--other", "/x", "--servers", "floor"}, []string{"floor", "gateway-other"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o Options
			flags := flag.NewFlagSet("x", flag.ContinueOnError)
			o.Flags(flags, 10, "gateway,floor")
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			if err := o.validate(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(o.Servers, tt.want) {
				t.Errorf("got %v, want %v", o.Servers, tt.want)
			}
		})
	}
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--servers", "gateway,other"},
		{"--servers", "gateway,gateway-other"},
		{"--rounds", "0"},
		{"--clients", "0"},
		{"--at-once", "0"},
		{"--clients", "100000000"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var o Options
			flags := flag.NewFlagSet("x", flag.ContinueOnError)
			o.Flags(flags, 10, "gateway,floor")
			if err := flags.Parse(args); err != nil {
				t.Fatal(err)
			}
			if err := o.validate(); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}
