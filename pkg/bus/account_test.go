package bus_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
)

var accountPattern = regexp.MustCompile(`\A(user|model):[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}\z`)

func TestValidAccount(t *testing.T) {
	for s, want := range map[string]bool{
		"user:u1":                          true,
		"model:M-1.x_y~z@q":                true,
		"user:" + strings.Repeat("a", 128): true,
		"user:" + strings.Repeat("a", 129): false,
		"":                                 false,
		"user:":                            false,
		"user":                             false,
		"User:u1":                          false,
		"admin:u1":                         false,
		"system:issuance":                  false,
		"user:-u1":                         false,
		"user:u1:x":                        false,
		"user:{u1}":                        false,
		"user:u 1":                         false,
		"user:u1\n":                        false,
		"user:ü":                           false,
		"*":                                false,
	} {
		t.Run(s, func(t *testing.T) {
			if got := bus.ValidAccount(s); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func FuzzValidAccount(f *testing.F) {
	f.Add("user:u1")
	f.Add("model:m.1")
	f.Fuzz(func(t *testing.T, s string) {
		got := bus.ValidAccount(s)
		want := accountPattern.MatchString(s)
		if got != want {
			t.Errorf("ValidAccount(%q): got %v, want %v", s, got, want)
		}
	})
}
