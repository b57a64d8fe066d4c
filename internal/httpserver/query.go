package httpserver

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redroomrewards/realtime/internal/problem"
)

// Query returns the parameters after the question mark. It refuses unknown and repeated ones, so
// that a typo never becomes a silent default.
func Query(r *http.Request, known ...string) (url.Values, *problem.Details) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Invalid("", "the query string must be well-formed")
	}
	for name, list := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, Invalid("/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), "must be a known parameter")
		case len(list) > 1:
			return nil, Invalid("/"+name, "must be given only once")
		}
	}
	return values, nil
}

// Number returns the value of a parameter that is a whole number from low to high, or absent when
// the parameter is not there. A number has one form: it refuses +1 and 01.
func Number(query url.Values, name string, low, high, absent int64) (int64, *problem.Details) {
	text := query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high || strconv.FormatInt(n, 10) != text {
		return 0, Invalid("/"+name, fmt.Sprintf("must be a whole number from %d to %d", low, high))
	}
	return n, nil
}
