package ws

import "github.com/redroomrewards/realtime/internal/plainjson"

// eachFrame parses a message's frames and calls do for each until do is false.
func eachFrame(message []byte, do func(f clientFrame, refused *refusal) bool) {
	if f, ok := plainFrame(message); ok { // nearly every message
		do(f, nil)
		return
	}
	frames(message, func(raw []byte) bool { return do(parseFrame(raw)) })
}

// plainFrame reads a message that is one good frame, written plainly, into what
// parseFrame would return for it. It judges nothing: what it does not read, frames and
// parseFrame do.
func plainFrame(message []byte) (f clientFrame, ok bool) {
	seen := 0
	s := plainjson.Scanner{Rest: message}
	s.Open('{')
	for n := 0; s.More(n, '}'); n++ {
		member := 0
		switch string(s.Name()) {
		case "op":
			member, f.Op = 1<<0, string(s.Text())
		case "token":
			member, f.Token = 1<<1, string(s.Text())
		case "sub":
			sub := string(s.Text())
			member, f.Sub = 1<<2, &sub
		case "accounts":
			member, f.Accounts = 1<<3, s.Texts()
		case "types":
			member, f.Types = 1<<4, s.Texts()
		case "reasons":
			member, f.Reasons = 1<<5, s.Texts()
		case "features":
			member, f.Features = 1<<6, s.Texts()
		case "minAmount":
			amount := s.Whole()
			member, f.MinAmount = 1<<7, &amount
		case "after":
			member, f.After = 1<<8, plainAfter(&s)
		case "snapshot":
			snapshot := s.Bool()
			member, f.Snapshot = 1<<9, &snapshot
		}
		if member == 0 || seen&member != 0 {
			return f, false // an unknown name, or one that was there before
		}
		seen |= member
	}
	return f, s.End() && knownOp(f.Op)
}

// plainAfter reads an object of numbers, without duplicate names.
func plainAfter(s *plainjson.Scanner) map[string]int64 {
	after := map[string]int64{}
	s.Open('{')
	for n := 0; s.More(n, '}'); n++ {
		after[string(s.Name())] = s.Whole()
		if len(after) == n {
			s.Fail()
		}
	}
	return after
}
