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
	var seen members
	s := plainjson.Scanner{Rest: message}
	s.Open('{')
	for n := 0; s.More(n, '}'); n++ {
		member := memberOf(string(s.Name()))
		switch member {
		case memberOp:
			f.Op = string(s.Text())
		case memberToken:
			f.Token = string(s.Text())
		case memberSub:
			sub := string(s.Text())
			f.Sub = &sub
		case memberAccounts:
			f.Accounts = s.Texts()
		case memberTypes:
			f.Types = s.Texts()
		case memberReasons:
			f.Reasons = s.Texts()
		case memberFeatures:
			f.Features = s.Texts()
		case memberMinAmount:
			amount := s.Whole()
			f.MinAmount = &amount
		case memberAfter:
			f.After = plainAfter(&s)
		case memberSnapshot:
			snapshot := s.Bool()
			f.Snapshot = &snapshot
		}
		if member == 0 || seen&member != 0 {
			return f, false // an unknown name, or one that was there before
		}
		seen |= member
	}
	return f, s.End() && knownOp(f.Op) && seen&^membersOf(f.Op) == 0
}

// members is a set of a client frame's members.
type members uint16

const (
	memberOp members = 1 << iota
	memberToken
	memberSub
	memberAccounts
	memberTypes
	memberReasons
	memberFeatures
	memberMinAmount
	memberAfter
	memberSnapshot
)

// memberOf is empty for a name that no frame has.
func memberOf(name string) members {
	switch name {
	case "op":
		return memberOp
	case "token":
		return memberToken
	case "sub":
		return memberSub
	case "accounts":
		return memberAccounts
	case "types":
		return memberTypes
	case "reasons":
		return memberReasons
	case "features":
		return memberFeatures
	case "minAmount":
		return memberMinAmount
	case "after":
		return memberAfter
	case "snapshot":
		return memberSnapshot
	}
	return 0
}

// membersOf are those that a frame of that op may have.
func membersOf(op string) members {
	switch op {
	case opAuth:
		return memberOp | memberToken
	case opSubscribe:
		return memberOp | memberSub | memberAccounts | memberTypes | memberReasons | memberFeatures | memberMinAmount | memberAfter | memberSnapshot
	case opUnsubscribe:
		return memberOp | memberSub
	}
	return memberOp
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
