package origin_test

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/origin"
)

func TestCheck(t *testing.T) {
	for pattern, good := range map[string]bool{
		"*": true, "app.example": true, "*.example": true, "app.example:8443": true, "localhost:*": true, "[::1]:80": true, "https://app.example": true, "*://app.example": true,
		"HTTPS://App.Example": true, "http://*": true, "capacitor://localhost": true, "https://*.example:8443": true,
		"": false, "::bad": false, "https://": false, "https://app.example/": false, "app.example/path": false, "https://me@app.example": false,
		"app.example:port": false, "a b": false, "[": false, "https://[a-": false,
	} {
		if err := origin.Check(pattern); (err == nil) != good {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		patterns     []string
		origin, host string
		want         bool
	}{
		{nil, "https://app.example", "app.example", true},
		{nil, "https://APP.example", "app.example", true},
		{nil, "https://app.example:8443", "app.example", false},
		{nil, "https://evil.example", "app.example", false},
		{nil, "null", "app.example", false},
		{[]string{"*"}, "null", "app.example", true},
		{[]string{"*"}, "https://any.example:1", "app.example", true},
		{[]string{"other.example"}, "http://other.example", "app.example", true},
		{[]string{"https://other.example"}, "http://other.example", "app.example", false},
		{[]string{"https://*.example"}, "https://a.example", "app.example", true},
		{[]string{"https://*.example"}, "https://a.example.evil", "app.example", false},
		{[]string{"["}, "https://a.example", "app.example", false},
	} {
		if got := origin.Allowed(c.patterns, c.origin, c.host); got != c.want {
			t.Errorf("%v, origin %s, host %s: %v", c.patterns, c.origin, c.host, got)
		}
	}
}
