package auth

import (
	"context"
	"slices"
)

// FetchKeys fetches the keys of the JWKS URL, unless that was tried a moment ago. It returns an error
// if none could be fetched yet. Without a URL it does nothing.
func (v *Verifier) FetchKeys(ctx context.Context) error {
	if v.jwks == nil {
		return nil
	}
	v.jwks.fetchLocked(ctx)
	return v.Published().Missing
}

// KnownAlgorithms returns the algorithms of the keys that are known at the moment, sorted.
func (v *Verifier) KnownAlgorithms() []string {
	var known []string
	for algorithm := range v.static {
		known = append(known, algorithm)
	}
	if v.jwks != nil {
		v.jwks.mu.Lock()
		for _, key := range v.jwks.keys {
			known = append(known, key.alg)
		}
		v.jwks.mu.Unlock()
	}
	slices.Sort(known)
	return slices.Compact(known)
}
