package wallet

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var updateGolden = flag.Bool("update", false, "rewrite testdata/write_statements.golden")

// writeShapes are the shapes that a batch can have. A batch changes or creates at least one
// wallet, and only escrows that are opened or ended can expire.
func writeShapes() []writeShape {
	var shapes []writeShape
	opened := []writeShape{{}, {opensEscrows: true}, {opensEscrows: true, opensExpiring: true}}
	ended := []writeShape{{}, {closesEscrows: true}, {closesEscrows: true, closesExpiring: true}}
	wallets := []writeShape{{changesWallets: true}, {createsWallets: true}, {changesWallets: true, createsWallets: true}}
	for _, o := range opened {
		for _, e := range ended {
			for _, w := range wallets {
				shapes = append(shapes, writeShape{
					opensEscrows:   o.opensEscrows,
					opensExpiring:  o.opensExpiring,
					closesEscrows:  e.closesEscrows,
					closesExpiring: e.closesExpiring,
					changesWallets: w.changesWallets,
					createsWallets: w.createsWallets,
				})
			}
		}
	}
	return shapes
}

func describeShape(shape writeShape) string {
	parts := []struct {
		present bool
		name    string
	}{
		{shape.opensEscrows, "opens escrows"},
		{shape.opensExpiring, "some of which expire"},
		{shape.closesEscrows, "ends escrows"},
		{shape.closesExpiring, "some of which would have expired"},
		{shape.changesWallets, "changes wallets"},
		{shape.createsWallets, "creates wallets"},
	}
	var names []string
	for _, part := range parts {
		if part.present {
			names = append(names, part.name)
		}
	}
	return strings.Join(names, ", ")
}

// TestWriteStatementsAreTheGoldenOnes compares all statements that can store a batch with the
// golden file. Run it with -update after an intended change.
func TestWriteStatementsAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	var generated strings.Builder
	for _, shape := range writeShapes() {
		generated.WriteString("-- " + describeShape(shape) + "\n" + buildWriteStatement(shape).sql + ";\n\n")
	}
	golden := filepath.Join("testdata", "write_statements.golden")
	if *updateGolden {
		err := os.WriteFile(golden, []byte(generated.String()), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(generated.String(), "\n")
	want := strings.Split(string(content), "\n")
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("line %d of the generated statements:\ngot  %s\nwant %s", i+1, got[i], want[i])
		}
	}
	checkEqual(t, "lines of the generated statements", len(got), len(want))
}

// TestShapeHasExactlyThePartsOfItsBatch compares the shapes of batches with the expected ones.
func TestShapeHasExactlyThePartsOfItsBatch(t *testing.T) {
	t.Parallel()
	expiring := &Escrow{ExpiresAt: time.Now()}
	lasting := &Escrow{}
	changed := &wallet{}
	created := &wallet{created: true}
	for name, tc := range map[string]struct {
		batch mutations
		want  writeShape
	}{
		"credit to a new wallet": {
			batch: mutations{wallets: []*wallet{created}},
			want:  writeShape{createsWallets: true},
		},
		"credit to an old wallet": {
			batch: mutations{wallets: []*wallet{changed}},
			want:  writeShape{changesWallets: true},
		},
		"hold": {
			batch: mutations{wallets: []*wallet{changed}, opened: []*Escrow{lasting}},
			want:  writeShape{changesWallets: true, opensEscrows: true},
		},
		"two holds, one of which expires": {
			batch: mutations{wallets: []*wallet{changed}, opened: []*Escrow{expiring, lasting}},
			want:  writeShape{changesWallets: true, opensEscrows: true, opensExpiring: true},
		},
		"refund": {
			batch: mutations{wallets: []*wallet{changed}, closed: []*Escrow{lasting}},
			want:  writeShape{changesWallets: true, closesEscrows: true},
		},
		"everything": {
			batch: mutations{
				wallets: []*wallet{changed, created},
				opened:  []*Escrow{expiring},
				closed:  []*Escrow{lasting, expiring},
			},
			want: fullShape,
		},
	} {
		t.Run(name, func(t *testing.T) { checkEqual(t, "shape", batchShape(&tc.batch), tc.want) })
	}
}
