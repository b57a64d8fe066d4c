package auth

import (
	"encoding/base64"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/redroomrewards/realtime/pkg/bus"
)

const (
	// maxHeaderBytes bounds a token's encoded header. Real ones have some 50 bytes.
	maxHeaderBytes = 1 << 10
	// maxNesting bounds how deep the JSON of a token may nest.
	maxNesting = 8
)

// validateForm checks what the JWT library leaves open, before the library parses the token: the
// size of the header, how deep the JSON nests, and the header's members.
func validateForm(raw string) error {
	header, rest, found := strings.Cut(raw, ".")
	payload, _, complete := strings.Cut(rest, ".")
	switch {
	case !found || !complete:
		return errMalformed
	case len(header) > maxHeaderBytes:
		return newRefusal("the token's header must be at most 1 KiB long")
	}

	for _, segment := range []string{header, payload} {
		data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
		switch {
		case err != nil:
			return errMalformed
		case bus.NestsDeeper(data, maxNesting):
			return newRefusal("the token's JSON must nest at most 8 levels deep")
		}
		if segment == header {
			err = validateHeader(data)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// validateHeader checks that no member comes twice (RFC 7515 section 4), that the names are exact,
// and that there is no crit. It names extensions that a reader must know (section 4.1.11), and we
// know none.
func validateHeader(data []byte) error {
	var header struct {
		Crit jsontext.Value `json:"crit"`
	}
	err := jsonv2.Unmarshal(data, &header)
	if err != nil {
		return errMalformed
	}
	if header.Crit != nil {
		return newRefusal("the token must not have critical extensions (crit)")
	}
	return nil
}
