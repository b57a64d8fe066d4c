package netconn

import (
	"strings"
	"testing"
)

// A message that would not become shorter is not compressed.
func TestCompressMessageKeepsMessage(t *testing.T) {
	noise := strings.Builder{}
	for i := range minCompressed {
		noise.WriteByte(byte(i*167 + i*i))
	}
	for name, payload := range map[string]string{
		"does not compress": noise.String(),
		"too short":         strings.Repeat("x", minCompressed-1),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCompressors(1)
			message := appendHeader([]byte("before"), textFrame, len(payload))
			message = append(message, payload...)
			got := c.compressMessage(message, len("before"), len(payload))
			if string(got) != string(message) {
				t.Errorf("got %q, want %q", got, message)
			}
		})
	}
}

func BenchmarkAppendMessages(b *testing.B) {
	items := make([]Item, 10)
	for i := range items {
		items[i].Frame = make([]byte, 350)
	}
	dst := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendMessages(dst[:0], items, nil)
	}
}

// sampleEvent is a frame of typical length.
const sampleEvent = `{"op":"event","sub":"wallet","account":"user:u1","seq":3,"event":{` +
	`"eventId":"1bb37aad-3cb7-57de-8ed3-f2bdf2224a9b","eventType":"wallet.balance_updated",` +
	`"timestamp":"2026-11-28T10:51:12.429Z","transactionId":"01a221c7-cead-72b9-ac1d-05ca6fd3a651",` +
	`"reason":"admin_credit","source":"wallet-core","version":"1.0","accountId":"u1",` +
	`"accountType":"user","balanceState":"available","balanceBefore":700,"balanceAfter":705,` +
	`"changeAmount":5,"ledgerEntryId":"42199e17-ea20-5b47-95f1-cbaac937d4bc"}}`

func BenchmarkCompress(b *testing.B) {
	items := []Item{{Frame: []byte(sampleEvent)}}
	c := newCompressors(1)
	dst := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendMessages(dst[:0], items, c)
	}
	b.ReportMetric(float64(len(dst))/float64(len(sampleEvent)), "size")
}
