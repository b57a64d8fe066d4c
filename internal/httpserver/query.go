package httpserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/redroomrewards/realtime/internal/problem"
)

// Query reads the parameters after the question mark. Unknown and repeated ones are
// refused, so that a typo never becomes a silent default.
func Query(r *http.Request, known ...string) (url.Values, *problem.Details) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Invalid("", "the query string cannot be read")
	}
	for name, list := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, Invalid("/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), "there is no such parameter")
		case len(list) > 1:
			return nil, Invalid("/"+name, "the parameter is given more than once")
		}
	}
	return values, nil
}
