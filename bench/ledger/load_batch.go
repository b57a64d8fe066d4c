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

// batches sends one POST /v1/batch after the other. Each of its holds counts as
// an operation that took as long as the request.
func (l *load) batches(ctx context.Context, conn *rawhttp.Conn, n int, random *rand.Rand) error {
	items := make([]string, l.kind.batch)
	for i := range items {
		items[i] = fmt.Sprintf(`{"operation":"hold","idempotencyKey":"bench-%s-%03d-%04d-%s","account":"user:b&&&&&&&&","amount":%d,"reason":"chip_menu_purchase","queueItemId":"queue-%03d","featureType":"chip_menu"}`,
			l.keys, n, i, keySlot, holdAmount, n)
	}
	request := rawhttp.Post("/v1/batch", l.addr, fmt.Sprintf("Authorization: Bearer %s\r\n", l.token), `{"operations":[`+strings.Join(items, ",")+`]}`)
	accounts, keys := slots(request, "&&&&&&&&"), slots(request, keySlot)
	for i := uint64(1); ctx.Err() == nil; i++ {
		for k := range items {
			rawhttp.PutNumber(accounts[k], uint64(l.account(random.IntN(l.used())))) //nolint:gosec // not negative
			rawhttp.PutNumber(keys[k], i)
		}
		begin := time.Now()
		status, body, err := conn.Do(request)
		if err != nil {
			return err
		}
		done := bytes.Count(body, []byte(`"status":201`))
		l.held.Add(int64(done))
		if status != http.StatusOK || done != len(items) {
			l.fail(fmt.Errorf("a batch was answered %d with %d holds of %d: %.200s", status, done, len(items), body))
			continue
		}
		if h := l.window.Load(); h != nil {
			took := time.Since(begin)
			for range items {
				h.Add(took)
			}
		}
	}
	return nil
}

// slots are all places that hold the placeholder.
func slots(request []byte, placeholder string) [][]byte {
	var out [][]byte
	for at := 0; ; {
		i := bytes.Index(request[at:], []byte(placeholder))
		if i < 0 {
			return out
		}
		at += i + len(placeholder)
		out = append(out, request[at-len(placeholder):at:at])
	}
}
