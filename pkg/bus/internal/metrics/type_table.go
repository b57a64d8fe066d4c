package metrics

import (
	"sync"
	"sync/atomic"
)

// maxTypes bounds the event types that have metrics of their own, since producers choose the types.
const maxTypes = 256

// OtherTypes is the label of all further event types.
const OtherTypes = "other"

// typeTable contains a value for each event type, for at most maxTypes types and one more for all
// others.
type typeTable[V any] struct {
	byType sync.Map // string -> *V
	n      atomic.Int32
}

// getOrMake returns the value of an event type. The first call for a type makes it.
func (t *typeTable[V]) getOrMake(eventType string, makeValue func(label string) *V) *V {
	v, ok := t.byType.Load(eventType)
	if ok {
		return v.(*V)
	}

	if t.n.Load() >= maxTypes {
		if eventType == OtherTypes {
			return makeValue(OtherTypes)
		}

		return t.getOrMake(OtherTypes, makeValue)
	}

	v, loaded := t.byType.LoadOrStore(eventType, makeValue(eventType))
	if !loaded {
		t.n.Add(1)
	}

	return v.(*V)
}
