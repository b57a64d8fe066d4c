package origin

import (
	"net/http"
	"slices"
)

// Readers are the web pages that may read the answers of a server, by CORS. Pages never write, and
// browsers send no cookies or passwords.
type Readers struct {
	Patterns []string // see Allowed
	Headers  string   // the names of the request headers that pages may set, separated by commas
	Exposed  string   // the names of the answer headers that pages may read
}

// Allow lets the page that sent a request read the answer. It reports whether the page may do that.
// Call it before the answer is written.
func (p Readers) Allow(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	from := r.Header.Get("Origin")
	if from == "" || !Allowed(p.Patterns, from, r.Host) {
		return false
	}

	h.Set("Access-Control-Allow-Origin", from)
	h.Set("Access-Control-Expose-Headers", p.Exposed)
	return true
}

// AnswerPreflight permits the GET that a page asks for. Call it after Allow has returned true.
func (p Readers) AnswerPreflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", http.MethodGet)
	h.Set("Access-Control-Allow-Headers", p.Headers)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// CheckAll returns the error of the first invalid pattern.
func CheckAll(patterns []string) error {
	for _, pattern := range patterns {
		err := Check(pattern)
		if err != nil {
			return err
		}
	}
	return nil
}

// IsPreflight reports whether a browser asks if a page may send a request.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// AsksToRead reports whether the preflight is for a GET or a HEAD.
func AsksToRead(r *http.Request) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead}, r.Header.Get("Access-Control-Request-Method"))
}
