package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logKeys are the keys of all log lines. One key means the same in every line, so that a search for
// an account or a partition finds all lines about it.
var logKeys = []string{
	"account",
	"address",
	"admin",
	"attempt",
	"attempts",
	"bytes",
	"code",
	"connection",
	"connections",
	"core",
	"count",
	"database",
	"delay",
	"duration",
	"entry",
	"error",
	"event",
	"expiry",
	"failures",
	"findings",
	"frames",
	"from",
	"gateways",
	"group",
	"http",
	"id",
	"key",
	"keys",
	"method",
	"namespace",
	"operation",
	"operations",
	"panic",
	"partition",
	"partitions",
	"path",
	"reason",
	"redis",
	"requestId",
	"seq",
	"stack",
	"status",
	"stream",
	"subscription",
	"tls",
	"to",
	"transport",
	"type",
	"url",
	"version",
}

// messagePosition is the position of the message among the arguments of a logger's methods. The keys
// and values follow it. With has no message.
var messagePosition = map[string]int{
	"Debug":        0,
	"Info":         0,
	"Warn":         0,
	"Error":        0,
	"DebugContext": 1,
	"InfoContext":  1,
	"WarnContext":  1,
	"ErrorContext": 1,
	"Log":          2,
	"LogAttrs":     2,
	"With":         -1,
}

// attrFunctions are the functions of slog that make an attribute.
var attrFunctions = []string{"Any", "Bool", "Duration", "Float64", "Group", "Int", "Int64", "String", "Time", "Uint64"}

func TestLogKeysAreListed(t *testing.T) {
	used := map[string]bool{}
	for _, path := range moduleFiles(t) {
		for _, k := range parseLogKeys(t, path, nil) {
			used[k.name] = true
			if !slices.Contains(logKeys, k.name) {
				t.Errorf("%s: the key of a log line must be in logKeys, got %s", k.position, k.name)
			}
		}
	}
	if len(used) == 0 {
		t.Error("got no log lines")
	}
	for _, key := range logKeys {
		if !used[key] {
			t.Errorf("logKeys: got %s, which no log line has", key)
		}
	}
}

func TestLogKeysAreFound(t *testing.T) {
	const source = `package p
func f() {
	log.Info("message", "a", 1, slog.String("b", "x"), "c", g("not a key"))
	s.cfg.Logger.WarnContext(ctx, "message", "d", 1)
	slog.LogAttrs(ctx, slog.LevelInfo, "message", slog.Any("e", nil), attrs...)
	s.log.With("f", 1).Error("message", key, 1)
	http.Error(w, "not a key", 500)
	t.Error("message", "not a key")
}`
	var got []string
	for _, k := range parseLogKeys(t, "source.go", source) {
		got = append(got, k.name)
	}
	slices.Sort(got)
	want := []string{"a", "an expression", "b", "c", "d", "e", "f"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// moduleFiles returns the files of this module, without tests and without the modules below it.
func moduleFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && isOutsideModule(path) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// isOutsideModule reports whether go ignores the directory or it is a module of its own.
func isOutsideModule(dir string) bool {
	name := filepath.Base(dir)
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// logKey is a key in the source.
type logKey struct {
	name     string // an expression if it is not a string literal
	position string
}

// parseLogKeys returns the keys in the calls of loggers and of slog's attribute functions. It reads
// the file if src is nil.
func parseLogKeys(t *testing.T, path string, src any) []logKey {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return nil
	}
	var keys []logKey
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		for _, key := range keyArguments(call) {
			position := fset.Position(key.Pos())
			keys = append(keys, logKey{
				name:     keyName(key),
				position: fmt.Sprintf("%s:%d", position.Filename, position.Line),
			})
		}
		return true
	})
	return keys
}

// keyArguments returns the arguments of a call that are keys of a log line.
func keyArguments(call *ast.CallExpr) []ast.Expr {
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	receiver := lastIdentifier(function.X)
	if receiver == "slog" && slices.Contains(attrFunctions, function.Sel.Name) {
		return call.Args[:1]
	}
	message, isLogMethod := messagePosition[function.Sel.Name]
	if !isLogMethod || !isLogger(receiver) {
		return nil
	}

	var keys []ast.Expr
	for i := message + 1; i < len(call.Args); i++ {
		isSpread := call.Ellipsis.IsValid() && i == len(call.Args)-1
		_, isAttr := call.Args[i].(*ast.CallExpr)
		if isSpread || isAttr {
			continue // the attribute is checked where it is made
		}
		keys = append(keys, call.Args[i])
		i++ // skip the value
	}
	return keys
}

// isLogger reports whether a variable, field or method of this name is a logger.
func isLogger(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "log") || strings.HasSuffix(name, "logger") || name == "with"
}

// lastIdentifier returns the name after the last dot of an expression, such as log for c.cfg.log.
func lastIdentifier(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.CallExpr:
		return lastIdentifier(x.Fun)
	}
	return ""
}

func keyName(key ast.Expr) string {
	literal, ok := key.(*ast.BasicLit)
	if !ok {
		return "an expression"
	}
	name, err := strconv.Unquote(literal.Value)
	if err != nil {
		return literal.Value
	}
	return name
}
