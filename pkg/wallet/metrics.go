package wallet

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the ledger counts; without a registerer nobody reads it.
type metrics struct {
	operations    *prometheus.CounterVec
	batchSize     prometheus.Histogram
	commitSeconds prometheus.Histogram
	careful       prometheus.Counter
	retries       prometheus.Counter
	split         prometheus.Counter
	overloaded    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, queued func() float64) *metrics {
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ledger_operations_total", Help: "Operations that were answered, by kind and result.",
		}, []string{"operation", "result"}),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledger_commit_batch_size", Help: "Operations in a commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledger_commit_seconds", Help: "Time from begin to commit of a batch.",
			// A commit takes 1 to 100 ms; a batch is given up after 10 s.
			Buckets: []float64{.0005, .001, .0015, .002, .003, .005, .0075, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		careful: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_commit_careful_total", Help: "Tries of a batch that locked its accounts and looked its keys up first.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_commit_retries_total", Help: "Tries of a batch that failed and were worth another one.",
		}),
		split: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_commit_splits_total", Help: "Batches that were halved to find an operation that breaks them.",
		}),
		overloaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_overloaded_total", Help: "Operations refused because the queue was full.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.operations, m.batchSize, m.commitSeconds, m.careful, m.retries, m.split, m.overloaded,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "ledger_queue_length", Help: "Operations that wait for a commit.",
			}, queued))
	}
	return m
}

func (m *metrics) count(op *Op, res *result) {
	m.operations.WithLabelValues(string(op.Operation), resultLabel(res)).Inc()
}

func resultLabel(res *result) string {
	switch err := res.err; {
	case err == nil && res.receipt.Replayed:
		return "replayed"
	case err == nil:
		return "done"
	case errors.Is(err, ErrInsufficientFunds):
		return "insufficient_funds"
	case errors.Is(err, ErrAccountNotFound), errors.Is(err, ErrEscrowNotFound):
		return "not_found"
	case errors.Is(err, ErrEscrowProcessed):
		return "escrow_already_processed"
	case errors.Is(err, ErrAmountMismatch):
		return "amount_mismatch"
	case errors.Is(err, ErrKeyReused):
		return "idempotency_key_reused"
	case errors.Is(err, ErrInvalid):
		return "invalid_request"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return "failed"
}
