package wallet_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.SetParallel("8") // the tests wait for Postgres
	goleak.VerifyTestMain(m)
}
