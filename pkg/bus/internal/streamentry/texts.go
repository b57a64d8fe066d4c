package streamentry

import "github.com/redroomrewards/realtime/pkg/bus"

// chainDigits is the length of a chain's text.
const chainDigits = 16

// Texts holds the texts of the arguments of one command. go-redis accepts pointers to them: a
// string in an interface costs an allocation, and a command has about ten thousand of them.
type Texts struct {
	list   []string // never grows, since arguments point into it
	digits []byte   // of the chains; never grows, since texts point into it
}

// NewTexts returns room for a number of texts, of which some are chains.
func NewTexts(texts, chains int) *Texts {
	return &Texts{
		list:   make([]string, 0, texts),
		digits: make([]byte, 0, chainDigits*chains),
	}
}

// AddText returns a pointer to s.
func (t *Texts) AddText(s string) *string {
	t.list = append(t.list, s)
	return &t.list[len(t.list)-1]
}

// AddChain returns a pointer to the text of c.
func (t *Texts) AddChain(c bus.Chain) *string {
	start := len(t.digits)
	t.digits = c.AppendHex(t.digits)
	return t.AddText(UnsafeString(t.digits[start:]))
}
