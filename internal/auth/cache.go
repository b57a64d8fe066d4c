package auth

import (
	"crypto/sha256"

	"github.com/maypok86/otter/v2"
)

// tokenID names a token in the cache by its hash, so that no token stays in memory.
type tokenID = [sha256.Size]byte

// verifiedToken is a token whose signature was verified.
type verifiedToken struct {
	claims *Claims
	keys   keysVersion // version of the published keys that were known before the verification
}

// tokenCache remembers the tokens that were verified last. A refused token is not remembered: it
// may be accepted a moment later, with new keys.
type tokenCache struct {
	tokens *otter.Cache[tokenID, *verifiedToken]
}

func newTokenCache(size int) *tokenCache {
	return &tokenCache{tokens: otter.Must(&otter.Options[tokenID, *verifiedToken]{
		MaximumSize: size,
		// Eviction runs inside the calls that cause it, so that no goroutine is left running.
		Executor: func(evict func()) { evict() },
	})}
}

// findClaims returns the token's claims, or nil when the token is not known or was verified with other
// keys than today's.
func (c *tokenCache) findClaims(id tokenID, keys keysVersion) *Claims {
	known, ok := c.tokens.GetIfPresent(id)
	isCurrent := ok && keys.fresh && known.keys == keys
	if !isCurrent {
		return nil
	}
	return known.claims
}

func (c *tokenCache) addToken(id tokenID, token *verifiedToken) {
	c.tokens.Set(id, token)
}
