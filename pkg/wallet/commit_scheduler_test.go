package wallet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestBatchesShareNothingAndKeepOrder admits random requests, starts batches and finishes them.
// Running batches have no subject in common, and requests with a common subject run in the order
// in which they were admitted.
func TestBatchesShareNothingAndKeepOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newSchedulerModel()
		t.Repeat(map[string]func(*rapid.T){
			"admit":  m.admit,
			"finish": m.finish,
			"select": m.selectBatch,
		})
	})
}

// schedulerModel runs a scheduler by hand and numbers the requests.
type schedulerModel struct {
	s       *scheduler
	running []*committer
	numbers map[*request]int
	newest  map[subject]int // the newest request with the subject that was started
}

func newSchedulerModel() *schedulerModel {
	const committers = 3
	s := &scheduler{
		maxBatch:     8,
		cache:        &commitCache{},
		finished:     make(chan *committer, committers),
		busy:         map[subject]*committer{},
		runningCalls: map[callID]int{},
		blocked:      map[subject]bool{},
		blockedCalls: map[callID]bool{},
	}
	for range committers {
		s.free = append(s.free, &committer{})
	}
	return &schedulerModel{s: s, numbers: map[*request]int{}, newest: map[subject]int{}}
}

func (m *schedulerModel) admit(t *rapid.T) {
	if len(m.s.waiting) == m.s.maxBatch {
		return // full
	}
	r := &request{op: drawNamed(t), callID: rapid.SampledFrom([]callID{0, 1, 2}).Draw(t, "call")}
	r.addOpSubjects()
	m.numbers[r] = len(m.numbers) + 1
	m.s.admitRequest(r)
}

func (m *schedulerModel) selectBatch(t *rapid.T) {
	if len(m.s.free) == 0 {
		return
	}
	c := m.s.free[0]
	before := slices.Clone(m.s.waiting)
	m.s.selectBatch(c)
	if len(c.batch)+len(m.s.waiting) != len(before) {
		t.Fatalf("%d were waiting, %d are selected and %d stay", len(before), len(c.batch), len(m.s.waiting))
	}
	for _, r := range c.batch {
		m.checkCall(t, r)
		for _, subject := range r.busySubjects() {
			m.checkSubject(t, r, subject)
		}
	}
	if len(m.running) == 0 && len(before) > 0 && !slices.Contains(c.batch, before[0]) {
		t.Fatal("nothing runs, and the oldest request stays behind")
	}
	if len(c.batch) > 0 {
		m.s.free = m.s.free[1:]
		m.s.running += len(c.batch)
		m.running = append(m.running, c)
	}
}

// checkCall: the cache has no escrows here, so a settlement's user may be any user of its call.
func (m *schedulerModel) checkCall(t *rapid.T, r *request) {
	mustComeFirst := func(other *request) bool {
		unknown := other.op.Account == "" || r.op.Account == ""
		return other.callID == r.callID && unknown && m.numbers[other] < m.numbers[r]
	}
	runsFirst := func(c *committer) bool { return slices.ContainsFunc(c.batch, mustComeFirst) }
	if r.callID == 0 {
		return
	}
	if slices.ContainsFunc(m.s.waiting, mustComeFirst) || slices.ContainsFunc(m.running, runsFirst) {
		t.Fatalf("request %d overtook a settlement of its call", m.numbers[r])
	}
}

func (m *schedulerModel) checkSubject(t *rapid.T, r *request, s subject) {
	if m.numbers[r] < m.newest[s] {
		t.Fatalf("request %d overtook %d", m.newest[s], m.numbers[r])
	}
	m.newest[s] = m.numbers[r]
	for _, other := range m.running {
		for _, o := range other.batch {
			if slices.Contains(o.busySubjects(), s) {
				t.Fatalf("%v is in two batches", s)
			}
		}
	}
}

func (m *schedulerModel) finish(t *rapid.T) {
	if len(m.running) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.running)-1).Draw(t, "committer")
	m.s.finishBatch(m.running[i])
	m.running = slices.Delete(m.running, i, i+1)
	if m.s.targetSize > m.s.maxBatch {
		t.Fatalf("a batch waits for %d requests and holds %d", m.s.targetSize, m.s.maxBatch)
	}
	if len(m.running) > 0 {
		return
	}
	if len(m.s.busy) != 0 || len(m.s.runningCalls) != 0 || m.s.running != 0 {
		t.Fatalf("nothing runs, and %d subjects and %d calls are busy, %d requests running",
			len(m.s.busy), len(m.s.runningCalls), m.s.running)
	}
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

// TestSchedulerStates checks what the waiting requests wait for.
func TestSchedulerStates(t *testing.T) {
	t.Parallel()
	newRequest := func(a Account) *request {
		op := creditOf(a, 1, "k")
		return newValidatedRequest(t.Context(), &op)
	}
	for _, test := range []struct {
		name       string
		waiting    []Account
		busy       Account
		free       int
		targetSize int
		now        bool
		want       schedulerState
	}{
		{name: "no request", free: 1, targetSize: 1, want: idle},
		{name: "no request and no committer", targetSize: 1, want: idle},
		{name: "no committer", waiting: []Account{"user:a"}, targetSize: 1, want: saturated},
		{name: "fewer than the target", waiting: []Account{"user:a"}, free: 1, targetSize: 2, want: gathering},
		{name: "a busy account", waiting: []Account{"user:a"}, busy: "user:a", free: 1, targetSize: 1, want: blocked},
		{name: "a busy account, after gathering", waiting: []Account{"user:a"}, busy: "user:a", free: 1, targetSize: 9, now: true, want: blocked},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newSchedulerModel()
			m.s.free = m.s.free[:test.free]
			m.s.targetSize = test.targetSize
			if test.busy != "" {
				m.s.busy[subject{account: test.busy}] = &committer{}
			}
			for _, a := range test.waiting {
				m.s.admitRequest(newRequest(a))
			}
			if got := m.s.startBatches(test.now); got != test.want {
				t.Errorf("state %d, want %d", got, test.want)
			}
			if len(m.s.waiting) != len(test.waiting) {
				t.Errorf("%d requests wait, want %d", len(m.s.waiting), len(test.waiting))
			}
		})
	}
}
