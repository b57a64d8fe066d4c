package dispatch

// maxErrorBytes is the largest error text that a dead letter keeps.
const maxErrorBytes = 4096

// ErrorText returns an error's text, cut to the first 4096 bytes.
func ErrorText(err error) string {
	s := err.Error()
	return s[:min(len(s), maxErrorBytes)]
}
