// Package coreapi is the core's HTTP API.
//
// Each call has a file with its handler, which reads from top to bottom: authenticate, decode,
// validate, call the ledger, encode. Operations are validated by the ledger itself
// (wallet.Op.Validate, in Ledger.Do), queries by the handler. The file also has the types of the body
// and the answer, and the call's description for the OpenAPI document.
//
//   - Operations: credit.go, debit.go, hold.go, settle.go, refund.go, partial_settle.go, batch.go.
//   - Queries: balance.go, entries.go, events.go, escrows.go, escrow.go, transaction.go.
//   - What handlers share: call.go (the request on its way), authenticate.go, request.go (headers,
//     path, query), decode.go (bodies), receipt.go and encode.go (answers), errors.go, trace.go,
//     metrics.go.
//   - errors.go has the one table from errors to statuses and codes.
//
// huma makes the OpenAPI document from the Go types and puts the calls on the standard ServeMux. It
// does not read requests: bodies are decoded strictly and once, and every mistake is a 400 with a
// JSON pointer.
//
// The order of checks is: 401, 403, then 400 and 413, then the ledger's own rules.
//
// When the client of a query disconnects, the query is cancelled. An operation is not: once the
// ledger has it, it completes, and a retry with the same Idempotency-Key returns its result.
package coreapi
