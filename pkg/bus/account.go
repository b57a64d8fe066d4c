package bus

import "strings"

// maxAccountID is the largest length of an account's id, in bytes.
const maxAccountID = 128

// ValidAccount reports whether s is an account: user:<id> or model:<id>, where <id> matches
// [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}. It does not allocate, since the gateway calls it for every
// name that a client sends.
func ValidAccount(s string) bool {
	id, ok := strings.CutPrefix(s, "user:")
	if !ok {
		id, ok = strings.CutPrefix(s, "model:")
	}

	if !ok || id == "" || len(id) > maxAccountID {
		return false
	}

	if !isAlphanumeric(id[0]) {
		return false
	}

	for i := 1; i < len(id); i++ {
		switch c := id[i]; c {
		case '.', '_', '~', '@', '-':
		default:
			if !isAlphanumeric(c) {
				return false
			}
		}
	}

	return true
}

// AccountID returns the <id> of an account user:<id> or model:<id>.
func AccountID(account string) string {
	_, id, _ := strings.Cut(account, ":")
	return id
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
