// Package origin decides which web pages may use the gateway and read from the core.
package origin

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Check returns an error if a pattern is invalid. A pattern must be a host or an origin. Each may
// have wildcards.
func Check(pattern string) error {
	// With its wildcards replaced, a valid pattern is a URL without a path.
	text := strings.NewReplacer("*://", "x://", "*", "1", "?", "1").Replace(strings.ToLower(pattern))
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}

	u, err := url.Parse(text)
	isOrigin := err == nil && u.Host != "" && u.Scheme+"://"+u.Host == text
	_, patternErr := path.Match(pattern, "")
	if !isOrigin || patternErr != nil {
		return fmt.Errorf("%q must be a host or an origin, for example https://*.example.com", pattern)
	}
	return nil
}

// Allowed reports whether a page of the origin may call a server. host is the server's host from
// the request. A page of the same host is always allowed.
//
// Patterns are hosts or origins (with ://). In a pattern, * matches any characters except "/". An
// origin that is not a URL, such as null, is allowed only by the pattern *.
func Allowed(patterns []string, origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return slices.Contains(patterns, "*")
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}

	for _, pattern := range patterns {
		target := u.Host
		if strings.Contains(pattern, "://") {
			target = u.Scheme + "://" + u.Host
		}
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(target))
		if err == nil && ok {
			return true
		}
	}
	return false
}
