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

// Query returns the parameters after the question mark. It refuses unknown and repeated parameters,
// so that a typing error is not ignored.
func Query(r *http.Request, known ...string) (url.Values, *problem.Details) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}

	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Invalid("", "the query string must be well-formed")
	}

	escaper := strings.NewReplacer("~", "~0", "/", "~1")
	for name, list := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, Invalid("/"+escaper.Replace(name), "must be a known parameter")
		case len(list) > 1:
			return nil, Invalid("/"+name, "must be given only once")
		}
	}
	return values, nil
}

// Number returns the value of a parameter that must be a whole number from low to high. It returns
// absent if the parameter is absent. It refuses other spellings of a number, such as +1 and 01.
func Number(query url.Values, name string, low, high, absent int64) (int64, *problem.Details) {
	text := query.Get(name)
	if text == "" {
		return absent, nil
	}

	n, err := strconv.ParseInt(text, 10, 64)
	inRange := err == nil && n >= low && n <= high
	if !inRange || strconv.FormatInt(n, 10) != text {
		return 0, Invalid("/"+name, fmt.Sprintf("must be a whole number from %d to %d", low, high))
	}
	return n, nil
}
