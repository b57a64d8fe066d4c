package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// step is a row of the table "One hold, step by step".
var step = regexp.MustCompile("(?m)^\\|[^|]*\\|[^|]*\\| `([^`]+\\.go)` \\| `([^`]+)` \\|$")

// Each function that the walk through the house names is in the file that it names.
func TestWalkNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- walk -->")
	table, _, closed := strings.Cut(rest, "<!-- /walk -->")
	if !found || !closed {
		t.Fatal("ARCHITECTURE.md has no walk")
	}
	rows := step.FindAllStringSubmatch(table, -1)
	if want := strings.Count(table, ".go`"); len(rows) != want || want < 20 {
		t.Errorf("%d of %d steps can be read", len(rows), want)
	}
	files := map[string]bool{}
	for _, row := range rows {
		file, function := row[1], row[2]
		files[file] = true
		if !declares(t, filepath.Join(root, file), function) {
			t.Errorf("%s has no function %s", file, function)
		}
	}
	if len(files) > 35 {
		t.Errorf("a hold passes %d files, the aim is 35", len(files))
	}
}

// Each package of the module stands in the table of packages.
func TestMapNamesEachPackage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		name := path[strings.LastIndexByte(path, '/')+1:]
		known := strings.Contains(string(page), "`"+path+"`") || strings.Contains(string(page), "`"+name+"`") ||
			strings.HasPrefix(path, "examples/")
		if !known {
			t.Errorf("ARCHITECTURE.md does not name %s", path)
		}
	}
}

// declares reports whether the file declares the function, or the method as Type.Method.
func declares(t *testing.T, path, name string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return false
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && functionName(f) == name {
			return true
		}
	}
	return false
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	if ident, ok := receiver.(*ast.Ident); ok {
		return ident.Name + "." + f.Name.Name
	}
	return f.Name.Name
}
