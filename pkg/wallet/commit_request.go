package wallet

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// request is one operation on its way through group commit.
type request struct {
	ctx  context.Context // of the caller: a request that is cancelled before its batch begins is not done
	op   Op
	hash [16]byte
	done chan result // buffered: the batcher never waits for a caller

	call   *Result    // the first of the DoBatch that it is part of; nil: of none
	anyone bool       // its user is not known, and may be anyone's in its call
	named  [4]subject // what it shares with others, see subjects
	names  int

	result result // while its batch is under way
}

type result struct {
	receipt Receipt
	err     error
}

// newRequest checks the operation.
func newRequest(ctx context.Context, op *Op) (*request, error) {
	if op.Operation == OpHold && op.EscrowID != uuid.Nil {
		return nil, invalid("/escrowId", "the ledger names the escrow")
	}
	if err := op.Check(); err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, op: *op, hash: requestHash(op), done: make(chan result, 1)}
	r.name()
	return r, nil
}

// wait returns the answer, or the caller's end.
func (r *request) wait() (Receipt, error) {
	select {
	case res := <-r.done:
		return res.receipt, res.err
	case <-r.ctx.Done():
		return Receipt{}, fmt.Errorf("%s: %w", r.op.Operation, r.ctx.Err())
	}
}

func (r *request) ref() keyRef { return keyRef{r.op.Operation, r.op.IdempotencyKey} }

func (r *request) answer(res result, m *metrics) {
	m.count(&r.op, &res)
	r.done <- res
}

// subject is what requests may share: an account or an escrow, or the call of DoBatch that they are part of.
type subject struct {
	account Account
	escrow  uuid.UUID
	call    *Result
}

// subjects are what the request names. A settlement's user is among them only if
// the escrow is remembered; if not, the rest of its call waits for it, and it for what came before it in its call, since the
// user may be theirs.
func (r *request) subjects() []subject { return r.named[:r.names] }

// waitsFor are the subjects, and its call.
func (r *request) waitsFor() []subject {
	r.named[r.names] = subject{call: r.call}
	if r.call == nil {
		return r.named[:r.names]
	}
	return r.named[:r.names+1]
}

func (r *request) name() {
	switch r.op.Operation {
	case OpCredit, OpDebit, OpHold:
		r.named[0], r.names = subject{account: r.op.Account}, 1
	default:
		r.named[0], r.names = subject{escrow: r.op.EscrowID}, 1
		if r.op.Model != "" {
			r.named[1], r.names = subject{account: r.op.Model}, 2
		}
	}
}
