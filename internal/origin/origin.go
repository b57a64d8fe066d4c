// Package origin decides which web pages may use the gateway.
package origin

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Check tells what is wrong with a pattern, if anything is.
func Check(pattern string) error {
	// As a URL, with something in place of what may match anything.
	text := strings.NewReplacer("*://", "x://", "*", "1", "?", "1").Replace(strings.ToLower(pattern))
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if _, bad := path.Match(pattern, ""); err != nil || bad != nil || u.Host == "" || u.Scheme+"://"+u.Host != text {
		return fmt.Errorf("%q is neither a host nor an origin such as https://*.example.com", pattern)
	}
	return nil
}

// Allowed tells whether a page of the origin may call a server that it knows as
// host. The same host always may. Patterns are hosts or origins (with ://), in
// which * matches any run of characters but "/". An origin that is no URL, such as
// null, is allowed by the pattern * alone.
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
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(target)); err == nil && ok {
			return true
		}
	}
	return false
}
