package netconn

import (
	"strings"
	"testing"
)

// What would not become shorter is sent as it is.
func TestMessagesThatDoNotCompress(t *testing.T) {
	d := newCompressors(1)
	noise := strings.Builder{}
	for i := range 256 {
		noise.WriteByte(byte(i*167 + i*i))
	}
	for _, payload := range []string{noise.String(), strings.Repeat("x", minCompressed-1)} {
		message := append(appendHeader([]byte("before"), textFrame, len(payload)), payload...)
		if got := d.compress(message, len("before"), len(payload)); string(got) != string(message) {
			t.Errorf("%q became %q", message, got)
		}
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

func BenchmarkCompress(b *testing.B) {
	event := []byte(`{"op":"event","sub":"wallet","account":"user:u1","seq":3,"event":{"eventId":"1bb37aad-3cb7-57de-8ed3-f2bdf2224a9b","eventType":"wallet.balance_updated","timestamp":"2026-11-28T10:51:12.429Z","transactionId":"01a221c7-cead-72b9-ac1d-05ca6fd3a651","reason":"admin_credit","source":"wallet-core","version":"1.0","accountId":"user:u1","accountType":"user","balanceState":"available","balanceBefore":700,"balanceAfter":705,"changeAmount":5,"ledgerEntryId":"42199e17-ea20-5b47-95f1-cbaac937d4bc"}}`)
	items := []Item{{Frame: event}}
	d := newCompressors(1)
	dst := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendMessages(dst[:0], items, d)
	}
	b.ReportMetric(float64(len(dst))/float64(len(event)), "size")
}
