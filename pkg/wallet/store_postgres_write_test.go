package wallet

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var updateGolden = flag.Bool("update", false, "write testdata/write_statements.golden anew")

// writeShapes are the shapes that a batch can have. A batch changes or creates at least one
// wallet, and only escrows that are opened or ended can expire.
func writeShapes() []writeShape {
	var shapes []writeShape
	for _, opened := range []writeShape{{}, {opensEscrows: true}, {opensEscrows: true, opensExpiring: true}} {
		for _, ended := range []writeShape{{}, {closesEscrows: true}, {closesEscrows: true, closesExpiring: true}} {
			for _, wallets := range []writeShape{{changesWallets: true}, {createsWallets: true}, {changesWallets: true, createsWallets: true}} {
				shapes = append(shapes, writeShape{
					opensEscrows: opened.opensEscrows, opensExpiring: opened.opensExpiring,
					closesEscrows: ended.closesEscrows, closesExpiring: ended.closesExpiring,
					changesWallets: wallets.changesWallets, createsWallets: wallets.createsWallets,
				})
			}
		}
	}
	return shapes
}

func describeShape(shape writeShape) string {
	var words []string
	for _, part := range []struct {
		present bool
		name    string
	}{
		{shape.opensEscrows, "opens escrows"},
		{shape.opensExpiring, "some of which expire"},
		{shape.closesEscrows, "ends escrows"},
		{shape.closesExpiring, "some of which would have expired"},
		{shape.changesWallets, "changes wallets"},
		{shape.createsWallets, "creates wallets"},
	} {
		if part.present {
			words = append(words, part.name)
		}
	}
	return strings.Join(words, ", ")
}

// TestWriteStatementsAreTheGoldenOnes compares all statements that can store a batch with the
// golden file. Run it with -update after a change that is meant.
func TestWriteStatementsAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	var generated strings.Builder
	for _, shape := range writeShapes() {
		generated.WriteString("-- " + describeShape(shape) + "\n" + buildWriteStatement(shape).sql + ";\n\n")
	}
	golden := filepath.Join("testdata", "write_statements.golden")
	if *updateGolden {
		if err := os.WriteFile(golden, []byte(generated.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if generated.String() == string(want) {
		return
	}
	got := strings.Split(generated.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("line %d of %s is %q; the statement that is generated differs", i+1, golden, line)
		}
	}
	t.Fatalf("%s ends after line %d of the generated statements", golden, strings.Count(string(want), "\n"))
}

// TestShapesFitTheirBatches checks that a batch's shape has exactly the parts that it needs.
func TestShapesFitTheirBatches(t *testing.T) {
	t.Parallel()
	timed := &Escrow{ExpiresAt: time.Now()}
	untimed := &Escrow{}
	changed := &wallet{}
	created := &wallet{created: true}
	for name, test := range map[string]struct {
		batch mutations
		want  writeShape
	}{
		"credit to a new wallet":  {mutations{wallets: []*wallet{created}}, writeShape{createsWallets: true}},
		"credit to an old wallet": {mutations{wallets: []*wallet{changed}}, writeShape{changesWallets: true}},
		"hold": {
			mutations{wallets: []*wallet{changed}, opened: []*Escrow{untimed}},
			writeShape{changesWallets: true, opensEscrows: true},
		},
		"two holds, one of which expires": {
			mutations{wallets: []*wallet{changed}, opened: []*Escrow{timed, untimed}},
			writeShape{changesWallets: true, opensEscrows: true, opensExpiring: true},
		},
		"refund": {
			mutations{wallets: []*wallet{changed}, closed: []*Escrow{untimed}},
			writeShape{changesWallets: true, closesEscrows: true},
		},
		"everything": {
			mutations{wallets: []*wallet{changed, created}, opened: []*Escrow{timed}, closed: []*Escrow{untimed, timed}},
			fullShape,
		},
	} {
		if got := batchShape(&test.batch); got != test.want {
			t.Errorf("%s: shape %+v, want %+v", name, got, test.want)
		}
	}
}
