package bus

import "strings"

// maxAccountID is the longest id of an account, in bytes.
const maxAccountID = 128

// ValidAccount tells whether s is an account: user:<id> or model:<id>, where <id>
// matches [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}. It allocates nothing, since the
// gateway asks it for every name that a client sends.
func ValidAccount(s string) bool {
	id, ok := strings.CutPrefix(s, "user:")
	if !ok {
		if id, ok = strings.CutPrefix(s, "model:"); !ok {
			return false
		}
	}
	if id == "" || len(id) > maxAccountID || !alphanumeric(id[0]) {
		return false
	}
	for i := 1; i < len(id); i++ {
		switch c := id[i]; c {
		case '.', '_', '~', '@', '-':
		default:
			if !alphanumeric(c) {
				return false
			}
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
