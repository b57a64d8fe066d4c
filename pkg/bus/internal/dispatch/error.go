package dispatch

// maxError is how much of an error's text a dead letter keeps.
const maxError = 4096

func ErrorText(err error) string {
	s := err.Error()
	return s[:min(len(s), maxError)]
}
