package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// call is a request that may be sent several times.
type call struct {
	name string   // for errors
	path string   // with the query
	body []byte   // nil: the request is a GET
	keys []string // idempotency keys; nil for a read

	isBatch bool // the keys are in the body
}

// answer is a response that was read to its end.
type answer struct {
	status    int
	header    http.Header
	body      []byte
	afterLoss bool // an earlier attempt may be done yet
}

// maxAnswer is the maximum size of an answer, in bytes. 1000 events with 8 KiB of metadata each fit.
const maxAnswer = 32 << 20

// maxRetryAfterSeconds bounds what a Retry-After header can ask for.
const maxRetryAfterSeconds = 30

// attempt is the outcome of sending a call once.
type attempt struct {
	answer     answer
	err        error
	isFinal    bool          // a retry would not help
	mayBeDone  bool          // the core may have got the request, and gave no final answer
	retryAfter time.Duration // the least delay before the next attempt
}

// send sends a call until it has a final answer. It returns the answer, a wrapped *Problem, or a
// *NoAnswerError.
func (l *Ledger) send(ctx context.Context, c call) (answer, error) {
	return l.sendUntil(ctx, c, time.Now().Add(l.retryFor))
}

// sendUntil is send with the time after which no attempt begins but the first.
func (l *Ledger) sendUntil(ctx context.Context, c call, end time.Time) (answer, error) {
	delays := newDelays()
	mayBeDone := false
	for n := 1; ; n++ {
		a := l.attempt(ctx, c)
		if a.err == nil {
			a.answer.afterLoss = mayBeDone
			return a.answer, nil
		}
		var problem *Problem
		if a.isFinal && errors.As(a.err, &problem) {
			problem.MayBeDone = mayBeDone
			return answer{}, fmt.Errorf("client: %s: %w", c.name, a.err)
		}

		mayBeDone = mayBeDone || a.mayBeDone
		delay := max(delays.NextBackOff(), a.retryAfter)
		isLast := a.isFinal || time.Now().Add(delay).After(end)
		if !isLast {
			err := wait(ctx, delay)
			if err == nil {
				continue
			}
			a.err = fmt.Errorf("%w; the last attempt: %w", err, a.err)
		}
		return answer{}, &NoAnswerError{
			Call:            c.name,
			IdempotencyKeys: c.keys,
			Attempts:        n,
			MayBeDone:       mayBeDone,
			Err:             a.err,
		}
	}
}

// newDelays returns the delays between attempts: at random around 50 ms, 100 ms, 200 ms and so on
// up to 2 s.
func newDelays() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     50 * time.Millisecond,
		RandomizationFactor: 0.9, // many clients lose a core at the same time, and must not return at the same time
		Multiplier:          2,
		MaxInterval:         2 * time.Second,
	}
}

// wait waits. It returns the error of ctx if ctx ended first.
func wait(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt sends the call once.
func (l *Ledger) attempt(parent context.Context, c call) attempt {
	ctx, cancel := context.WithTimeout(parent, l.attemptTimeout)
	defer cancel()
	token, err := l.token(ctx)
	if err != nil {
		return attempt{err: fmt.Errorf("get a token: %w", err), isFinal: true}
	}
	if !isHeaderValue(token) {
		return attempt{err: errors.New("LedgerConfig.Token must return a token, without blanks and line breaks around it"), isFinal: true}
	}
	request, err := l.newRequest(ctx, c, token)
	if err != nil {
		return attempt{err: err, isFinal: true}
	}

	a, err := l.receiveAnswer(request)
	if err != nil {
		if isMisconfigured(err) {
			return attempt{err: fmt.Errorf("no connection to %s is possible: %w", l.base, err), isFinal: true}
		}
		isTimeout := ctx.Err() != nil && parent.Err() == nil
		if isTimeout {
			err = fmt.Errorf("no answer within %s: %w", l.attemptTimeout, err)
		}
		return attempt{err: err, mayBeDone: c.isWrite() && !isDialError(err)}
	}
	if len(a.body) > maxAnswer {
		return attempt{err: fmt.Errorf("the answer must not exceed %d bytes; ask for smaller pages", maxAnswer), isFinal: true}
	}
	return l.judgeAnswer(c, a)
}

// receiveAnswer sends a request and reads its answer to the end.
func (l *Ledger) receiveAnswer(request *http.Request) (answer, error) {
	response, err := l.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("the answer was cut off: %w", err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

// isMisconfigured reports whether the URL or the certificates must be changed. Nothing was sent.
func isMisconfigured(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
}

// isDialError reports whether there was no connection, so that nothing was sent.
func isDialError(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial"
}

func (c *call) isWrite() bool { return c.body != nil }

func (l *Ledger) newRequest(ctx context.Context, c call, token string) (*http.Request, error) {
	method := http.MethodGet
	var body io.Reader
	if c.isWrite() {
		method = http.MethodPost
		body = bytes.NewReader(c.body)
	}
	request, err := http.NewRequestWithContext(ctx, method, l.base+c.path, body)
	if err != nil {
		return nil, err
	}
	// Otherwise the transport repeats requests with an Idempotency-Key by itself, and this package
	// would not know of lost attempts.
	request.GetBody = nil
	request.Header.Set("Authorization", "Bearer "+token)
	if c.isWrite() {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.isWrite() && !c.isBatch {
		request.Header.Set("Idempotency-Key", c.keys[0])
	}
	return request, nil
}

// judgeAnswer decides what a complete answer means.
func (l *Ledger) judgeAnswer(c call, a answer) attempt {
	if a.status == http.StatusOK || a.status == http.StatusCreated {
		return attempt{answer: a}
	}

	problem := l.decodeProblem(a)
	switch a.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// After overloaded nothing was done. Proxies answer 502 and 504 also after the request has
		// reached the core.
		nothingDone := problem.Code == ErrOverloaded || a.status == http.StatusTooManyRequests
		return attempt{
			err:        problem,
			mayBeDone:  c.isWrite() && !nothingDone,
			retryAfter: problem.retryAfter(),
		}
	}
	return attempt{err: problem, isFinal: true}
}

// decodeProblem returns the problem of an answer. The problem has no code if the answer is none of a
// core.
func (l *Ledger) decodeProblem(a answer) *Problem {
	retryAfter, _ := strconv.Atoi(a.header.Get("Retry-After")) // 0 if absent; a core sends no date
	problem := &Problem{RetryAfterSeconds: max(retryAfter, 0)}
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")) // "" if malformed
	isProblem := media == "application/problem+json" && json.Unmarshal(a.body, problem) == nil && problem.Code != ""
	if !isProblem {
		problem.Code = ""
		problem.Status = a.status
		problem.Detail = fmt.Sprintf("the answer must come from a core, got content type %q; "+
			"check that the URL is that of a core: %s", media, l.base)
		return problem
	}
	if problem.Code == ErrNotFound {
		problem.Detail += "; check that the URL is that of a core and not of a gateway: " + l.base
	}
	return problem
}

// validator is an answer that can tell whether it is one of a core.
type validator interface {
	isComplete() bool
}

// decodeAnswer decodes the answer of the named call.
func decodeAnswer(a answer, name string, into validator) error {
	err := json.Unmarshal(a.body, into)
	if err == nil && into.isComplete() {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("members are missing in %.200s", a.body)
	}
	return fmt.Errorf("client: %s: the answer must come from a core; check the URL: %w", name, err)
}
