package dispatch

// maxError is how much of an error's text a dead letter keeps.
const maxError = 4096

// ErrorText returns an error's text, cut to what a dead letter keeps.
func ErrorText(err error) string {
	s := err.Error()
	return s[:min(len(s), maxError)]
}
