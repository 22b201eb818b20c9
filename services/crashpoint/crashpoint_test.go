package crashpoint

import (
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

// TestEveryPointIsInTheTableAndInTheTree reads the source: a point that is in one
// only would be one that nobody ever dies at.
func TestEveryPointIsInTheTableAndInTheTree(t *testing.T) {
	t.Parallel()
	const least = 30
	table := map[string]bool{}
	for _, p := range Names() {
		stage, _, ok := strings.Cut(p.Name, "/")
		if table[p.Name] || p.Means == "" || !ok || stage == "" {
			t.Errorf("%q is in the table twice, has no meaning or no stage", p.Name)
		}
		table[p.Name] = true
	}
	if len(table) < least {
		t.Errorf("%d points, want at least %d", len(table), least)
	}
	places := map[string][]string{}
	for _, folder := range []string{"services", "consumers", "cmd"} {
		if err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			collect(t, path, places)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for name, where := range places {
		if !table[name] {
			t.Errorf("%v: point %q is not in the table", where, name)
		}
		if len(where) != 1 {
			t.Errorf("point %q stands in several places: %v", name, where)
		}
	}
	for name := range table {
		if places[name] == nil {
			t.Errorf("point %q is in the table and nowhere else", name)
		}
	}
}

// collect notes the points of a file. At takes literals only, so that the table can be checked.
func collect(t *testing.T, path string, places map[string][]string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(file.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"springtide/services/crashpoint"` }) {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fn, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || fn.Sel.Name != "At" {
			return true
		}
		if x, ok := fn.X.(*ast.Ident); !ok || x.Name != "crashpoint" {
			return true
		}
		at := files.Position(call.Pos()).String()
		literal, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s: At wants a literal", at)
			return true
		}
		name, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Errorf("%s: %v", at, err)
		}
		places[name] = append(places[name], at)
		return true
	})
}

func TestANormalBuildIgnoresTheEnvironment(t *testing.T) {
	if Armed {
		t.Skip("this build is armed")
	}
	t.Setenv(Variable, Names()[0].Name)
	for _, p := range Names() {
		At(p.Name) // would end the test
	}
	if os.Getenv(Variable) == "" {
		t.Error("the environment was not set")
	}
}

// BenchmarkAt is the price of a point in the build under test: in a normal one the same as of nothing.
func BenchmarkAt(b *testing.B) {
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
		}
	})
	b.Run("point", func(b *testing.B) {
		for b.Loop() {
			At("submit/after-claim")
		}
	})
}
