package adapter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/adapter"
)

const wait = 5 * time.Minute

const hello = `echo '{"hello":{"protocol":1,"client":"test","features":["b","a"]}}'; `

func TestStartRefusesOtherPrograms(t *testing.T) {
	for _, test := range []struct{ name, program, err string }{
		{"one that ends", "exit 1", "the adapter ended"},
		{"one that says why", "echo no port >&2; exit 1", "no port"},
		{"one that writes a text", "echo ready", "every line must be a JSON object"},
		{"one without a hello", `echo '{"ready":true}'`, "must be a hello"},
		{"one of another protocol", `echo '{"hello":{"protocol":2}}'`, "must have the protocol 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := adapter.Start([]string{"sh", "-c", test.program}, wait)
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error: got %v, want one with %q", err, test.err)
			}
		})
	}
}

// The reports before an answer reach the listener before Send returns.
func TestSendPassesReportsBeforeTheAnswer(t *testing.T) {
	a := start(t, hello+`read line; echo '{"report":"event","as":"s"}'; echo '{"id":1,"value":7}'; read line`)
	var reports []map[string]any
	a.Listen(func(r map[string]any) { reports = append(reports, r) })
	answer, err := a.Send(map[string]any{"do": "get"}, wait)
	if err != nil {
		t.Fatal(err)
	}
	if answer["value"] != float64(7) || len(reports) != 1 || reports[0]["as"] != "s" {
		t.Errorf("got the answer %v and the reports %v", answer, reports)
	}
	if !a.IsUsable() || a.Client != "test" || strings.Join(a.Features, "") != "ab" {
		t.Errorf("got usable %t, client %q, features %q", a.IsUsable(), a.Client, a.Features)
	}
}

func TestSendFails(t *testing.T) {
	for _, test := range []struct{ name, program, err string }{
		{"with the adapter's error", `read line; echo '{"id":1,"error":"no such client"}'; read line`, "no such client"},
		{"with another id", `read line; echo '{"id":9}'; read line`, "and answered 9"},
		{"if the adapter ends", `read line; echo oh no >&2`, "oh no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := start(t, hello+test.program)
			_, err := a.Send(map[string]any{"do": "get"}, wait)
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error: got %v, want one with %q", err, test.err)
			}
			if a.IsUsable() {
				t.Error("the adapter must not be usable")
			}
		})
	}
}

func start(t *testing.T, program string) *adapter.Adapter {
	t.Helper()
	a, err := adapter.Start([]string{"sh", "-c", program}, wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
	return a
}
