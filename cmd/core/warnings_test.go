package main

import "testing"

func TestUnverifiedDatabase(t *testing.T) {
	for databaseURL, want := range map[string]bool{
		"sqlite:ledger.db":                                             false,
		"postgres://u:p@db.example/points":                             true,
		"postgresql://u:p@db.example:5432/points?sslmode=require":      true,
		"postgres://u:p@db.example/points?sslmode=disable":             true,
		"postgres://u:p@db.example/points?sslmode=verify-full":         false,
		"postgres://u:p@db.example/points?sslmode=verify-ca&x=y":       false,
		"postgres://u:p@127.0.0.1:5432/points?sslmode=disable":         false,
		"postgres://u:p@[::1]/points":                                  false,
		"postgres://localhost/points":                                  false,
		"postgres://localhost:1,db.example:2/points":                   true,
		"postgres://u:p%40x@localhost:1,127.0.0.1:2/points?sslmode=no": false,
		"postgres:///points?host=/var/run/postgresql":                  false,
		"postgres:///points?host=db.example":                           true,
	} {
		if got := isUnverifiedDatabase(databaseURL, ""); got != want {
			t.Errorf("%s: got %v, want %v", databaseURL, got, want)
		}
	}
	if isUnverifiedDatabase("postgres://db.example/points", "verify-full") {
		t.Error("PGSSLMODE=verify-full: got true, want false")
	}
}
