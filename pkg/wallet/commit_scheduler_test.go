package wallet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// Batches that are under way together share nothing, and whoever names the same
// account or escrow is done in the order of coming.
func TestLanesShareNothingAndKeepOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &lanes{
			maxBatch: 8, recent: &recent{}, ended: make(chan *lane, 3),
			busy: map[subject]*lane{}, behind: map[subject]bool{}, calls: map[*Result]int{}, left: map[*Result]bool{},
		}
		s.free = []*lane{{}, {}, {}}
		var under []*lane
		numbers, next := map[*request]int{}, 0
		calls := []*Result{nil, {}, {}}
		last := map[subject]int{} // the newest request that was picked
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				if len(s.waiting) == s.maxBatch {
					return // full
				}
				r := &request{op: drawNamed(t), call: rapid.SampledFrom(calls).Draw(t, "call")}
				r.name()
				next++
				numbers[r] = next
				s.come(r)
			},
			"pick": func(t *rapid.T) {
				if len(s.free) == 0 {
					return
				}
				l, before := s.free[0], slices.Clone(s.waiting)
				s.pick(l)
				if len(l.batch)+len(s.waiting) != len(before) {
					t.Fatalf("%d were waiting, %d are picked and %d stay", len(before), len(l.batch), len(s.waiting))
				}
				for _, r := range l.batch {
					// Nobody remembers escrows here, so a settlement's user may be anybody's in its call.
					ahead := func(o *request) bool {
						return o.call == r.call && (o.op.Account == "" || r.op.Account == "") && numbers[o] < numbers[r]
					}
					if r.call != nil && (slices.ContainsFunc(s.waiting, ahead) ||
						slices.ContainsFunc(under, func(other *lane) bool { return slices.ContainsFunc(other.batch, ahead) })) {
						t.Fatalf("request %d overtook a settlement of its call", numbers[r])
					}
					for _, n := range r.subjects() {
						if numbers[r] < last[n] {
							t.Fatalf("request %d overtook %d", last[n], numbers[r])
						}
						last[n] = numbers[r]
						for _, other := range under {
							for _, o := range other.batch {
								if slices.Contains(o.subjects(), n) {
									t.Fatalf("%v is in two batches", n)
								}
							}
						}
					}
				}
				if len(under) == 0 && len(before) > 0 && !slices.Contains(l.batch, before[0]) {
					t.Fatal("nothing is under way, and the oldest request stays behind")
				}
				if len(l.batch) > 0 {
					s.free = s.free[1:]
					s.under += len(l.batch)
					under = append(under, l)
				}
			},
			"end": func(t *rapid.T) {
				if len(under) == 0 {
					return
				}
				i := rapid.IntRange(0, len(under)-1).Draw(t, "lane")
				s.end(under[i])
				under = slices.Delete(under, i, i+1)
				if s.want > s.maxBatch {
					t.Fatalf("waits for %d, a batch holds %d", s.want, s.maxBatch)
				}
				if len(under) == 0 && (len(s.busy)+len(s.calls) != 0 || s.under != 0) {
					t.Fatalf("nothing is under way, and %d names and %d calls are busy, %d requests under way", len(s.busy), len(s.calls), s.under)
				}
			},
		})
	})
}

// drawNamed is an operation on few accounts and escrows, so that they clash.
func drawNamed(t *rapid.T) Op {
	n := func(name string) int { return rapid.IntRange(0, 4).Draw(t, name) }
	switch op := rapid.SampledFrom([]Operation{OpCredit, OpHold, OpSettle, OpRefund}).Draw(t, "operation"); op {
	case OpSettle:
		return Op{Operation: op, EscrowID: uuid.UUID{byte(n("escrow"))}, Model: Account(fmt.Sprint("model:", n("model")))}
	case OpRefund:
		return Op{Operation: op, EscrowID: uuid.UUID{byte(n("escrow"))}}
	default:
		return Op{Operation: op, Account: Account(fmt.Sprint("user:", n("user")))}
	}
}
