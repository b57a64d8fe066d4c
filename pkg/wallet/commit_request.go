package wallet

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// request is one operation in group commit.
type request struct {
	ctx    context.Context // of the caller. If it ends before the batch starts, nothing is done.
	op     Op
	hash   [16]byte
	done   chan result // buffered, so that a committer never waits for a caller
	callID callID

	// These fields belong to the scheduler.
	subjectList  [maxSubjects]subject
	subjectCount int
	userUnknown  bool // the request closes an escrow whose user is known only after a read

	result result // set while the batch is committed
}

// callID identifies the DoBatch call that a request belongs to. It is 0 for a request of Do.
type callID uint64

type result struct {
	receipt Receipt
	err     error
}

// newRequest validates the operation and returns a request for it.
func newRequest(ctx context.Context, op *Op) (*request, error) {
	if op.Operation == OpHold && op.EscrowID != uuid.Nil {
		return nil, invalidField("/escrowId", "escrowId of a hold must be empty; the ledger assigns it")
	}

	err := op.Validate()
	if err != nil {
		return nil, err
	}

	return newValidatedRequest(ctx, op), nil
}

// newValidatedRequest returns a request for an operation that must be valid.
func newValidatedRequest(ctx context.Context, op *Op) *request {
	r := &request{
		ctx:  ctx,
		op:   *op,
		hash: hashRequest(op),
		done: make(chan result, 1),
	}

	r.addOpSubjects()
	return r
}

// awaitResult waits for the result. If the caller's ctx ends first, it returns the error of ctx.
func (r *request) awaitResult() (Receipt, error) {
	select {
	case res := <-r.done:
		return res.receipt, res.err
	case <-r.ctx.Done():
		return Receipt{}, fmt.Errorf("%s: %w", r.op.Operation, r.ctx.Err())
	}
}

// keyRef returns the idempotency key in the scope of its operation.
func (r *request) keyRef() keyRef {
	return keyRef{
		Operation: r.op.Operation,
		Key:       r.op.IdempotencyKey,
	}
}

func (r *request) sendResult(res result, m *metrics) {
	m.countResult(&r.op, &res)
	r.done <- res
}

// subject is a reason for one request to wait for another. It is an account, an escrow or a DoBatch
// call. Exactly one field is set. Requests with a common subject run one after the other.
type subject struct {
	account Account
	escrow  uuid.UUID
	call    callID
}

// maxSubjects is the number of subjects that a request can have: the escrow, the model, the user
// and the call of a settlement in a DoBatch.
const maxSubjects = 4

// addOpSubjects adds the subjects that the operation names.
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

// addEscrowUser adds the user of the escrow that the request closes. If the commit cache does not
// have the escrow, its user is unknown. Then each other request of the same call may concern the
// same user. So this request waits for the earlier requests of its call, and the later ones wait
// for this request.
func (r *request) addEscrowUser(cache *commitCache) {
	closesEscrow := r.op.Account == ""
	if !closesEscrow || cache == nil {
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

// busySubjects returns the subjects that are busy while the request runs.
func (r *request) busySubjects() []subject {
	return r.subjectList[:r.subjectCount]
}

// waitSubjects returns the subjects that must not be busy when the request starts: its own subjects
// and its call. A call is busy only while a request of the call with an unknown user runs.
func (r *request) waitSubjects() []subject {
	if r.callID == 0 {
		return r.busySubjects()
	}

	r.subjectList[r.subjectCount] = subject{call: r.callID}
	return r.subjectList[:r.subjectCount+1]
}
