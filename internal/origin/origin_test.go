package origin_test

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/origin"
)

func TestCheck(t *testing.T) {
	for pattern, good := range map[string]bool{
		"*":                      true,
		"app.example":            true,
		"*.example":              true,
		"app.example:8443":       true,
		"localhost:*":            true,
		"[::1]:80":               true,
		"https://app.example":    true,
		"*://app.example":        true,
		"HTTPS://App.Example":    true,
		"http://*":               true,
		"capacitor://localhost":  true,
		"https://*.example:8443": true,
		"":                       false,
		"::bad":                  false,
		"https://":               false,
		"https://app.example/":   false,
		"app.example/path":       false,
		"https://me@app.example": false,
		"app.example:port":       false,
		"a b":                    false,
		"[":                      false,
		"https://[a-":            false,
	} {
		t.Run(pattern, func(t *testing.T) {
			err := origin.Check(pattern)
			if (err == nil) != good {
				t.Errorf("got error %v, want valid: %v", err, good)
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		origin   string
		want     bool
	}{
		{"same host", nil, "https://app.example", true},
		{"same host in capitals", nil, "https://APP.example", true},
		{"other port", nil, "https://app.example:8443", false},
		{"other host", nil, "https://evil.example", false},
		{"null", nil, "null", false},
		{"null with *", []string{"*"}, "null", true},
		{"any host", []string{"*"}, "https://any.example:1", true},
		{"host pattern", []string{"other.example"}, "http://other.example", true},
		{"other scheme", []string{"https://other.example"}, "http://other.example", false},
		{"wildcard", []string{"https://*.example"}, "https://a.example", true},
		{"longer host", []string{"https://*.example"}, "https://a.example.evil", false},
		{"invalid pattern", []string{"["}, "https://a.example", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := origin.Allowed(c.patterns, c.origin, "app.example")
			if got != c.want {
				t.Errorf("patterns %v, origin %s: got %v, want %v", c.patterns, c.origin, got, c.want)
			}
		})
	}
}

func TestCheckAll(t *testing.T) {
	err := origin.CheckAll([]string{"https://app.example", "*.example"})
	if err != nil {
		t.Errorf("valid patterns: got error %v, want none", err)
	}
	err = origin.CheckAll([]string{"https://app.example", "https://app.example/path"})
	if err == nil {
		t.Error("invalid pattern: got no error, want one")
	}
}
