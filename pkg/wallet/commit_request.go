package wallet

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// request is one operation on its way through group commit.
type request struct {
	ctx    context.Context // of the caller. A request whose ctx ends before its batch begins is not done.
	op     Op
	hash   [16]byte
	done   chan result // buffered, so that a committer never waits for a caller
	callID callID

	// The scheduler's fields.
	subjectList  [maxSubjects]subject
	subjectCount int
	userUnknown  bool // it ends an escrow whose user is not known before the escrow is read

	result result // set while its batch runs
}

// A callID says which DoBatch a request is part of; 0: none.
type callID uint64

type result struct {
	receipt Receipt
	err     error
}

// newRequest validates the operation.
func newRequest(ctx context.Context, op *Op) (*request, error) {
	if op.Operation == OpHold && op.EscrowID != uuid.Nil {
		return nil, invalidField("/escrowId", "the ledger names the escrow")
	}
	err := op.Validate()
	if err != nil {
		return nil, err
	}
	return newValidatedRequest(ctx, op), nil
}

// newValidatedRequest trusts its caller that the operation is valid.
func newValidatedRequest(ctx context.Context, op *Op) *request {
	r := &request{ctx: ctx, op: *op, hash: hashRequest(op), done: make(chan result, 1)}
	r.addOpSubjects()
	return r
}

// awaitResult returns the answer, or the caller's error if its ctx ends first.
func (r *request) awaitResult() (Receipt, error) {
	select {
	case res := <-r.done:
		return res.receipt, res.err
	case <-r.ctx.Done():
		return Receipt{}, fmt.Errorf("%s: %w", r.op.Operation, r.ctx.Err())
	}
}

// keyRef returns the idempotency key in the scope of its operation.
func (r *request) keyRef() keyRef { return keyRef{r.op.Operation, r.op.IdempotencyKey} }

func (r *request) sendResult(res result, m *metrics) {
	m.countResult(&r.op, &res)
	r.done <- res
}

// A subject is what two requests may have in common, so that one must wait for the other: an
// account, an escrow, or the call of DoBatch that they are part of.
type subject struct {
	account Account
	escrow  uuid.UUID
	call    callID
}

// maxSubjects is reached by a settlement in a DoBatch: escrow, model, user and call.
const maxSubjects = 4

// addOpSubjects adds the subjects that the operation itself names.
func (r *request) addOpSubjects() {
	switch r.op.Operation {
	case OpCredit, OpDebit, OpHold:
		r.addSubject(subject{account: r.op.Account})
	default:
		r.addSubject(subject{escrow: r.op.EscrowID})
		if r.op.Model != "" {
			r.addSubject(subject{account: r.op.Model})
		}
	}
}

func (r *request) addSubject(s subject) {
	r.subjectList[r.subjectCount] = s
	r.subjectCount++
}

// addEscrowUser adds the user whose escrow the request ends. The commit cache may not know it. Then
// any other request of the same call may be about the same user. So the rest of the call waits
// for this request, and this request waits for the part of the call that came before it.
func (r *request) addEscrowUser(cache *commitCache) {
	endsEscrow := r.op.Account == ""
	if !endsEscrow || cache == nil {
		return
	}

	user := cache.escrowUser(r.op.EscrowID)
	switch {
	case user != "":
		r.addSubject(subject{account: user})
	case r.callID != 0:
		r.addSubject(subject{call: r.callID})
		r.userUnknown = true
	}
}

// subjects returns what the request keeps busy while it runs.
func (r *request) busySubjects() []subject { return r.subjectList[:r.subjectCount] }

// waitSubjects returns what must not be busy when the request starts: its subjects and its call. A
// call is busy only while a request of it runs whose user is unknown.
func (r *request) waitSubjects() []subject {
	if r.callID == 0 {
		return r.busySubjects()
	}
	r.subjectList[r.subjectCount] = subject{call: r.callID}
	return r.subjectList[:r.subjectCount+1]
}
