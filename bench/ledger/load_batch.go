package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/bench/rawhttp"
)

// sendBatches sends one POST /v1/batch after the other. Each hold in it counts as one operation,
// and its latency is that of the request.
func (l *load) sendBatches(ctx context.Context, conn *rawhttp.Conn, n int, random *rand.Rand) error {
	items := make([]string, l.kind.batch)
	for i := range items {
		items[i] = fmt.Sprintf(`{"operation":"hold","idempotencyKey":"bench-%s-%03d-%04d-%s","account":"user:b&&&&&&&&","amount":%d,"reason":"chip_menu_purchase","queueItemId":"queue-%03d","featureType":"chip_menu"}`,
			l.keys, n, i, keySlot, holdAmount, n)
	}

	header := fmt.Sprintf("Authorization: Bearer %s\r\n", l.token)
	body := `{"operations":[` + strings.Join(items, ",") + `]}`
	request := rawhttp.Post("/v1/batch", l.addr, header, body)
	accounts := findSlots(request, "&&&&&&&&")
	keys := findSlots(request, keySlot)

	for i := uint64(1); ctx.Err() == nil; i++ {
		for k := range items {
			rawhttp.PutNumber(accounts[k], uint64(l.accountNumber(random.IntN(l.usedAccounts())))) //nolint:gosec // not negative
			rawhttp.PutNumber(keys[k], i)
		}

		begin := time.Now()
		status, answer, err := conn.Do(request)
		if err != nil {
			return err
		}

		done := bytes.Count(answer, []byte(`"status":201`))
		l.held.Add(int64(done))
		if status != http.StatusOK || done != len(items) {
			l.addFailure(fmt.Errorf("a batch was answered with %d and %d of %d holds: %.200s", status, done, len(items), answer))
			continue
		}

		h := l.window.Load()
		if h != nil {
			took := time.Since(begin)
			for range items {
				h.Add(took)
			}
		}
	}

	return nil
}

// findSlots returns all parts of the request that are the placeholder.
func findSlots(request []byte, placeholder string) [][]byte {
	var out [][]byte
	end := 0
	for {
		i := bytes.Index(request[end:], []byte(placeholder))
		if i < 0 {
			return out
		}

		begin := end + i
		end = begin + len(placeholder)
		out = append(out, request[begin:end:end])
	}
}
