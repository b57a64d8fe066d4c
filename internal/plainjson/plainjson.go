// Package plainjson reads JSON of the plain form that programs write: strings of
// printable ASCII without escapes, whole numbers of up to 15 digits, true and false.
// What it accepts is JSON and means the same to every reader. Whatever is not plain
// it leaves, without judging it, to a reader that knows all of JSON. It makes no
// garbage, so what every new connection sends costs a tenth of what reflection takes.
//
//	s := plainjson.Scanner{Rest: data}
//	s.Open('{')
//	for n := 0; s.More(n, '}'); n++ {
//		switch string(s.Name()) {
//		case "sub":
//			sub = s.Text()
//		default:
//			s.Skip()
//		}
//	}
//	ok := s.End()
package plainjson

import (
	"bytes"
	"encoding/json"
)

// Marshal is json.Marshal that leaves <, > and & as they are: nothing here is HTML.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Scanner is a cursor over JSON. After the first thing that is not as expected all
// calls do nothing, and End is false.
type Scanner struct {
	Rest   []byte
	failed bool
}

// Fail says that what was read will not do.
func (s *Scanner) Fail() { s.failed = true }

// End tells whether all was as expected and nothing follows.
func (s *Scanner) End() bool {
	s.space()
	return !s.failed && len(s.Rest) == 0
}

// Open reads the bracket or brace that begins an array or object.
func (s *Scanner) Open(opening byte) {
	s.space()
	s.eat(opening)
}

// More tells whether there is an element or a member after n of them; if not, it
// reads the closing bracket or brace.
func (s *Scanner) More(n int, closing byte) bool {
	s.space()
	switch {
	case s.failed:
		return false
	case s.at(closing):
		s.eat(closing)
		return false
	case n > 0:
		s.eat(',')
	}
	return !s.failed
}

// Name reads a member's name and the colon behind it.
func (s *Scanner) Name() []byte {
	name := s.Text()
	s.space()
	s.eat(':')
	return name
}

// Text reads a string, as a part of the input.
func (s *Scanner) Text() []byte {
	s.space()
	s.eat('"')
	if s.failed {
		return nil
	}
	for i, c := range s.Rest {
		switch {
		case c == '"':
			text := s.Rest[:i:i]
			s.Rest = s.Rest[i+1:]
			return text
		case c < ' ' || c > '~' || c == '\\':
			s.failed = true
			return nil
		}
	}
	s.failed = true
	return nil
}

// Texts reads an array of strings. It is never nil unless the scanner has failed.
func (s *Scanner) Texts() []string {
	var list []string
	s.Open('[')
	for n := 0; s.More(n, ']'); n++ {
		list = append(list, string(s.Text()))
	}
	if s.failed {
		return nil
	}
	if list == nil {
		list = []string{}
	}
	return list
}

// maxDigits is what an int64 and a float64 both hold.
const maxDigits = 15

// Whole reads a whole number, not below zero.
func (s *Scanner) Whole() int64 {
	s.space()
	var n int64
	digits := 0
	for digits < len(s.Rest) && s.Rest[digits] >= '0' && s.Rest[digits] <= '9' && digits <= maxDigits {
		n = 10*n + int64(s.Rest[digits]-'0')
		digits++
	}
	// What follows a number that is not whole is neither a comma nor a bracket: the next
	// call fails.
	if digits == 0 || digits > maxDigits || (digits > 1 && s.Rest[0] == '0') {
		s.failed = true
	}
	if s.failed {
		return 0
	}
	s.Rest = s.Rest[digits:]
	return n
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	yes := s.At('t')
	word := "false"
	if yes {
		word = "true"
	}
	for i := range len(word) {
		s.eat(word[i])
	}
	return yes && !s.failed
}

// Skip reads a string, a whole number, true, false, or a flat array of these.
func (s *Scanner) Skip() {
	if !s.At('[') {
		s.scalar()
		return
	}
	s.Open('[')
	for n := 0; s.More(n, ']'); n++ {
		s.scalar()
	}
}

func (s *Scanner) scalar() {
	switch {
	case s.At('"'):
		s.Text()
	case s.at('t'), s.at('f'):
		s.Bool()
	default:
		s.Whole()
	}
}

// At tells whether a value that begins like this comes next.
func (s *Scanner) At(c byte) bool {
	s.space()
	return s.at(c)
}

func (s *Scanner) at(c byte) bool { return len(s.Rest) > 0 && s.Rest[0] == c }

func (s *Scanner) eat(c byte) {
	if s.failed || !s.at(c) {
		s.failed = true
		return
	}
	s.Rest = s.Rest[1:]
}

func (s *Scanner) space() {
	for len(s.Rest) > 0 {
		switch s.Rest[0] {
		case ' ', '\t', '\n', '\r':
			s.Rest = s.Rest[1:]
		default:
			return
		}
	}
}
