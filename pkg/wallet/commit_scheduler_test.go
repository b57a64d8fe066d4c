package wallet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestBatchesShareNoSubjectAndKeepOrder admits random requests, starts batches and finishes them.
// Running batches have no subject in common, and requests with a common subject run in the order
// in which they were admitted.
func TestBatchesShareNoSubjectAndKeepOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newSchedulerModel()
		t.Repeat(map[string]func(*rapid.T){
			"admit":  m.admitRandomRequest,
			"finish": m.finishRandomBatch,
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

func (m *schedulerModel) admitRandomRequest(t *rapid.T) {
	if len(m.s.waiting) == m.s.maxBatch {
		return // full
	}
	r := &request{op: drawClashingOp(t), callID: rapid.SampledFrom([]callID{0, 1, 2}).Draw(t, "call")}
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
		t.Fatalf("got %d requests selected and %d waiting, want %d in all", len(c.batch), len(m.s.waiting), len(before))
	}
	for _, r := range c.batch {
		m.checkCall(t, r)
		for _, subject := range r.busySubjects() {
			m.checkSubject(t, r, subject)
		}
	}
	noneRunning := len(m.running) == 0 && len(before) > 0
	if noneRunning && !slices.Contains(c.batch, before[0]) {
		t.Fatal("no batch runs, but the oldest request is not selected")
	}
	if len(c.batch) > 0 {
		m.s.free = m.s.free[1:]
		m.s.running += len(c.batch)
		m.running = append(m.running, c)
	}
}

// checkCall checks that r did not overtake a request of its call whose user is unknown. The cache
// is empty in this test, so the user of a settlement may be any user of its call.
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
		t.Fatalf("request %d runs before an earlier settlement of its call", m.numbers[r])
	}
}

func (m *schedulerModel) checkSubject(t *rapid.T, r *request, s subject) {
	if m.numbers[r] < m.newest[s] {
		t.Fatalf("request %d of %v ran before request %d", m.newest[s], s, m.numbers[r])
	}
	m.newest[s] = m.numbers[r]
	for _, other := range m.running {
		for _, o := range other.batch {
			if slices.Contains(o.busySubjects(), s) {
				t.Fatalf("%v is in two running batches", s)
			}
		}
	}
}

func (m *schedulerModel) finishRandomBatch(t *rapid.T) {
	if len(m.running) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.running)-1).Draw(t, "committer")
	m.s.finishBatch(m.running[i])
	m.running = slices.Delete(m.running, i, i+1)
	if m.s.targetSize > m.s.maxBatch {
		t.Fatalf("target size: got %d, want at most %d", m.s.targetSize, m.s.maxBatch)
	}
	if len(m.running) > 0 {
		return
	}
	for name, got := range map[string]int{
		"busy subjects":    len(m.s.busy),
		"running calls":    len(m.s.runningCalls),
		"running requests": m.s.running,
	} {
		if got != 0 {
			t.Fatalf("%s while no batch runs: got %d, want 0", name, got)
		}
	}
}

// drawClashingOp draws an operation on few accounts and escrows, so that operations clash.
func drawClashingOp(t *rapid.T) Op {
	draw := func(name string) int { return rapid.IntRange(0, 4).Draw(t, name) }
	op := Op{Operation: rapid.SampledFrom([]Operation{OpCredit, OpHold, OpSettle, OpRefund}).Draw(t, "operation")}
	switch op.Operation {
	case OpSettle:
		op.EscrowID = uuid.UUID{byte(draw("escrow"))}
		op.Model = Account(fmt.Sprint("model:", draw("model")))
	case OpRefund:
		op.EscrowID = uuid.UUID{byte(draw("escrow"))}
	default:
		op.Account = Account(fmt.Sprint("user:", draw("user")))
	}
	return op
}

// TestSchedulerStateNamesTheReasonToWait checks the state after the scheduler has started all
// batches that it can start.
func TestSchedulerStateNamesTheReasonToWait(t *testing.T) {
	t.Parallel()
	newRequest := func(a Account) *request {
		op := newCredit(a, 1, "k")
		return newValidatedRequest(t.Context(), &op)
	}
	for _, tc := range []struct {
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
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newSchedulerModel()
			m.s.free = m.s.free[:tc.free]
			m.s.targetSize = tc.targetSize
			if tc.busy != "" {
				m.s.busy[subject{account: tc.busy}] = &committer{}
			}
			for _, a := range tc.waiting {
				m.s.admitRequest(newRequest(a))
			}
			if got := m.s.startBatches(tc.now); got != tc.want {
				t.Errorf("state: got %d, want %d", got, tc.want)
			}
			checkEqual(t, "waiting requests", len(m.s.waiting), len(tc.waiting))
		})
	}
}
