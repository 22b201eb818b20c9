// Package layering holds the rules of the house that a compiler does not know:
// which folder may import which, where Kafka, Redis, the environment and the
// process's exit may be touched, what may stand at the top level, how long
// things may get. It only reads source, in-process; it refuses to run a tool,
// since go test caches what a tool said.
package layering

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of our own imports.
const module = "springtide"

// The longest that things may be, in lines.
const (
	maxFunction = 80
	maxMakefile = 80
	maxReadme   = 150
)

// layers are the folders with code. A folder imports itself or one before it.
func layers() []string {
	return []string{"proto", "services", "consumers", "autoscale", "loadtest", "cmd"}
}

// topLevel is all that may stand beside the layers. Names that start with a dot
// are left alone: editors and CI systems put theirs there.
func topLevel() []string {
	return []string{
		"go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
		"CONTRIBUTING.md", "SECURITY.md", "docs", "deploy",
	}
}

// seams are the modules that one folder alone may import, its subfolders included.
func seams() map[string]string {
	return map[string]string{
		"github.com/segmentio/kafka-go": "services/eventlog",
		"github.com/redis/go-redis":     "services/status",
		"go.opentelemetry.io/otel":      "services/telemetry",
	}
}

// environment are the files outside cmd that may look at the environment and end the process.
func environment() []string {
	return []string{"services/crashpoint/armed.go"} // not in a normal build: a build tag keeps it out
}

// vagueFolders say nothing about what is in them.
func vagueFolders() []string {
	return []string{"pkg", "util", "utils", "common", "types", "helpers", "scripts"}
}

// Check reads the tree and returns what breaks a rule, one sentence each, in
// the order of the files. The error is a file that cannot be read or parsed.
func Check(tree fs.FS) ([]string, error) {
	c := &checker{tree: tree, files: token.NewFileSet()}
	if err := c.top(); err != nil {
		return nil, err
	}
	for name, most := range map[string]int{"Makefile": maxMakefile, "README.md": maxReadme} {
		if err := c.length(name, most); err != nil {
			return nil, err
		}
	}
	for _, layer := range layers() {
		if _, err := fs.Stat(tree, layer); err != nil {
			continue // not built yet
		}
		if err := fs.WalkDir(tree, layer, c.visit); err != nil {
			return nil, err
		}
	}
	slices.Sort(c.broken)
	return c.broken, nil
}

type checker struct {
	tree   fs.FS
	files  *token.FileSet
	broken []string
	// apart are the folders of modules of their own: programs with flags and servers that the product does without.
	apart []string
}

func (c *checker) complain(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

// top checks the names at the top level, without what git ignores.
func (c *checker) top() error {
	entries, err := fs.ReadDir(c.tree, ".")
	if err != nil {
		return err
	}
	ignored, err := fs.ReadFile(c.tree, ".gitignore")
	if err != nil {
		return err
	}
	allowed := append(layers(), topLevel()...)
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) && !matches(string(ignored), name) {
			c.complain("%s: the top level is fixed; find it a place inside %s", name, strings.Join(allowed, ", "))
		}
	}
	return nil
}

// matches reports whether one of the plain patterns of a .gitignore covers a name at the top level.
func matches(ignored, name string) bool {
	for line := range strings.Lines(ignored) {
		pattern := strings.Trim(strings.TrimSpace(line), "/")
		if ok, _ := path.Match(pattern, name); ok && !strings.HasPrefix(pattern, "#") {
			return true
		}
	}
	return false
}

func (c *checker) length(name string, most int) error {
	b, err := fs.ReadFile(c.tree, name)
	if err != nil {
		return err
	}
	if n := strings.Count(string(b), "\n"); n > most {
		c.complain("%s: %d lines, at most %d", name, n, most)
	}
	return nil
}

func (c *checker) visit(name string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if d.IsDir() {
		switch {
		case d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case slices.Contains(vagueFolders(), d.Name()):
			c.complain("%s: the name says nothing; name the folder after what it does", name)
		}
		if _, err := fs.Stat(c.tree, path.Join(name, "go.mod")); err == nil {
			c.apart = append(c.apart, name)
		}
		return nil
	}
	if path.Ext(name) != ".go" {
		return nil
	}
	source, err := fs.ReadFile(c.tree, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(c.files, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	c.imports(name, file)
	if !ast.IsGenerated(file) {
		c.process(name, file)
		c.functions(file)
	}
	return nil
}

// imports checks the direction of our own imports and the seams.
func (c *checker) imports(name string, file *ast.File) {
	from := strings.SplitN(name, "/", 2)[0]
	for _, spec := range file.Imports {
		target, _ := strconv.Unquote(spec.Path.Value) // the parser accepted it
		at := c.files.Position(spec.Pos())
		if rest, ours := strings.CutPrefix(target, module+"/"); ours {
			to := strings.SplitN(rest, "/", 2)[0]
			if slices.Index(layers(), to) > slices.Index(layers(), from) {
				c.complain("%s: %s must not import %s; the order is %s", at, from, target, strings.Join(layers(), " | "))
			}
		}
		for seam, owner := range seams() {
			if !c.isApart(name) && within(target, seam) && !within(path.Dir(name), owner) {
				c.complain("%s: only %s imports %s", at, owner, seam)
			}
		}
	}
}

// isApart reports whether a file belongs to a module of its own.
func (c *checker) isApart(name string) bool {
	return slices.ContainsFunc(c.apart, func(folder string) bool { return within(name, folder) })
}

// within reports whether a path is another or lies below it.
func within(name, parent string) bool { return name == parent || strings.HasPrefix(name, parent+"/") }

// process keeps the environment, the flags and the exit of the process in cmd, in tests, and where it is agreed.
func (c *checker) process(name string, file *ast.File) {
	if within(name, "cmd") || c.isApart(name) || strings.HasSuffix(name, "_test.go") || slices.Contains(environment(), name) {
		return
	}
	osName := ""
	for _, spec := range file.Imports {
		switch spec.Path.Value {
		case `"flag"`:
			c.complain("%s: only cmd reads flags", c.files.Position(spec.Pos()))
		case `"os"`:
			osName = "os"
			if spec.Name != nil {
				osName = spec.Name.Name
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := call.X.(*ast.Ident); ok && osName != "" && x.Name == osName {
			switch call.Sel.Name {
			case "Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Exit":
				c.complain("%s: only cmd uses os.%s", c.files.Position(call.Pos()), call.Sel.Name)
			}
		}
		return true
	})
}

// functions forbids init and functions that are long without a reason. A reason
// is a //nolint:funlen with an explanation, or a comment with "long:" in it, on
// the line of the function or directly above.
func (c *checker) functions(file *ast.File) {
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		at := c.files.Position(fn.Pos())
		if fn.Recv == nil && fn.Name.Name == "init" {
			c.complain("%s: no init functions; wire it in cmd", at)
		}
		if lines := c.files.Position(fn.End()).Line - at.Line + 1; lines > maxFunction && !c.reasoned(file, at.Line) {
			c.complain("%s: %s has %d lines, at most %d without a reason beside it", at, fn.Name.Name, lines, maxFunction)
		}
	}
}

func (c *checker) reasoned(file *ast.File, line int) bool {
	for _, group := range file.Comments {
		for _, comment := range group.List {
			l := c.files.Position(comment.Pos()).Line
			if l != line && c.files.Position(group.End()).Line != line-1 {
				continue
			}
			_, reason, found := strings.Cut(comment.Text, "long:")
			if !found {
				if _, after, nolint := strings.Cut(comment.Text, "nolint:funlen"); nolint {
					_, reason, _ = strings.Cut(after, "//")
				}
			}
			if strings.TrimSpace(reason) != "" {
				return true
			}
		}
	}
	return false
}
