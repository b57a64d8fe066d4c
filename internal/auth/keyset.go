package auth

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/MicahParks/keyfunc/v3"
	jsonv2 "github.com/go-json-experiment/json"
)

// purpose contains the members that limit the use of a published key (RFC 7517 section 4).
type purpose struct {
	Kid string   `json:"kid"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	Ops []string `json:"key_ops"`
}

// allowsAlgorithm reports whether the key may verify signatures of the algorithm. An absent member forbids
// nothing.
func (p *purpose) allowsAlgorithm(alg string) bool {
	useAllows := p.Use == "" || p.Use == "sig"
	algAllows := p.Alg == "" || p.Alg == alg
	opsAllow := p.Ops == nil || slices.Contains(p.Ops, "verify")
	return useAllows && algAllows && opsAllow
}

// parseJWKS reads a key set key by key, so that a key of an unknown kind does not spoil the others.
// Symmetric keys are never accepted from a URL.
func parseJWKS(ctx context.Context, body []byte) ([]publishedKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	err := json.Unmarshal(body, &set)
	if err != nil {
		return nil, err
	}
	var keys []publishedKey
	for _, raw := range set.Keys {
		parsed, err := parseJWK(ctx, raw)
		if err == nil {
			keys = append(keys, parsed...)
		}
	}
	return keys, nil
}

// parseJWK returns the key if it can verify signatures. Its kid, use, alg and key_ops must have
// their exact names.
func parseJWK(ctx context.Context, raw json.RawMessage) ([]publishedKey, error) {
	var about purpose
	err := jsonv2.Unmarshal(raw, &about)
	if err != nil {
		return nil, err
	}
	set, err := json.Marshal(map[string][]json.RawMessage{"keys": {raw}})
	if err != nil {
		return nil, err
	}
	parsed, err := keyfunc.NewJWKSetJSON(set)
	if err != nil {
		return nil, err
	}
	all, err := parsed.VerificationKeySet(ctx)
	if err != nil {
		return nil, err
	}

	var keys []publishedKey
	for _, key := range all.Keys {
		alg, err := algorithmOf(key)
		if err == nil && about.allowsAlgorithm(alg) {
			keys = append(keys, publishedKey{kid: about.Kid, alg: alg, key: key})
		}
	}
	return keys, nil
}
