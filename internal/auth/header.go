package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
)

// header is what a token's first part says about its signature.
type header struct{ alg, kid string }

// errCritical: RFC 7515 section 4.1.11 has a token refused whose "crit" names an extension
// that the reader does not know; we know none, and an empty list is not allowed.
var errCritical = errors.New("extensions are not known")

// readHeader reads a token's first part.
func readHeader(segment string) (header, error) {
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return header{}, err
	}
	// Names are exact: to a struct of encoding/json, ALG would be alg. None may come twice
	// (RFC 7515 section 4).
	var members map[string]any
	if err := jsonv2.Unmarshal(data, &members); err != nil {
		return header{}, err
	}
	if _, ok := members["crit"]; ok {
		return header{}, errCritical
	}
	var h header
	h.alg, _ = members["alg"].(string)
	h.kid, _ = members["kid"].(string)
	return h, nil
}

// headers keeps what the headers of good tokens say: all tokens of an issuer have the
// same few. Only tokens whose signature was verified get theirs in.
type headers struct {
	mu    sync.RWMutex // protects known
	known map[string]header
}

// maxHeaders bounds headers; further ones are read anew for each token.
const maxHeaders = 64

func (h *headers) find(segment string) (header, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	found, ok := h.known[segment]
	return found, ok
}

func (h *headers) keep(segment string, what header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.known) >= maxHeaders {
		return
	}
	if h.known == nil {
		h.known = map[string]header{}
	}
	h.known[strings.Clone(segment)] = what
}
