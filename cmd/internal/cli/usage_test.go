package cli

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// long: one table.
func TestWrongUseIsToldInPlainWords(t *testing.T) {
	t.Parallel()
	odd := write(t, "odd.yaml", "kafak: x\n")
	broken := write(t, "broken.yaml", "a: [\n")
	nested := write(t, "nested.yaml", "kafka: {a: b}\n")
	secret := write(t, "secret.yaml", "output: xml\n")
	var b strings.Builder
	for _, c := range []struct {
		env  map[string]string
		line string
	}{
		{nil, "fiel x.csv"},
		{nil, "zzz"},
		{nil, "file"},
		{nil, "file --kye x a.csv"},
		{nil, "file --zzzzzzzz a.csv"},
		{nil, "file -z a.csv"},
		{nil, "file nosuchfile.csv"},
		{nil, "file - -"},
		{nil, "file a.csv --patience soon"},
		{nil, "check"},
		{nil, "status"},
		{nil, "status x --batch y"},
		{nil, "watch"},
		{nil, "list extra"},
		{nil, "list --page-size 0"},
		{nil, "list --page-size 501"},
		{nil, "list --period 2026-6"},
		{nil, "list --state acepted"},
		{nil, "list --output"},
		{nil, "list --output xml"},
		{nil, "list --lang fr"},
		{nil, "list --grpc nonsense"},
		{nil, "list --grpc="},
		{nil, "receipt"},
		{nil, "receipt a b"},
		{nil, "keys creat"},
		{nil, "keys list --tenant acme"},
		{nil, "keys create --tenant acme --role viewer"},
		{nil, "keys create"},
		{nil, "keys create --kafka nonsense"},
		{nil, "dead replay"},
		{nil, "serve"},
		{nil, "serve --kafka a:1"},
		{nil, "serve --kafka a:1 --redis b:2 --partitions -1"},
		{nil, "serve --kafka a:1 --redis b:2 --authority nonsense"},
		{nil, "serve --kafka a:1 --redis b:2 --authority cn=ftp://x"},
		{nil, "serve --kafka a:1 --redis b:2 --authority cn=http://x --authority cn=http://y"},
		{nil, "serve --kafka a:1 --redis b:2 --tls-cert x"},
		{nil, "serve --kafka a:1 --redis b:2 --tls-key x"},
		{nil, "serve --kafka a:1 --redis b:2 --tls-client-ca x"},
		{nil, "list --tls-cert x --tls-key y"},
		{nil, "list --tls --tls-cert x"},
		{nil, "list --tls-ca nosuchfile.pem"},
		{nil, "serve --kafka a:1 --redis b:2 --oidc-issuer http://login.example.com --oidc-audience x"},
		{nil, "serve --kafka a:1 --redis b:2 --oidc-issuer https://login.example.com"},
		{nil, "serve --kafka a:1 --redis b:2 --oidc-issuer https://login.example.com --oidc-audience x --oidc-algorithms HS256"},
		{nil, "serve --kafka a:1 --redis b:2 --oidc-audience x"},
		{nil, "serve --kafka a:1 --redis b:2 --replication -1"},
		{nil, "serve --kafka a:1 --redis b:2 --kafka-user u"},
		{nil, "serve --kafka a:1 --redis b:2 --kafka-password p"},
		{nil, "work"},
		{nil, "work sumbit"},
		{nil, "work submit"},
		{nil, "authority-sim --class D"},
		{nil, "authority-sim --quota fast"},
		{nil, "authority-sim --quota NaN"},
		{nil, "authority-sim --listen nonsense"},
		{nil, "authority-sim --lag -1s"},
		{nil, "demo --filings 0"},
		{nil, "dev --slots many"},
		{map[string]string{"SPRINGTIDE_OUTPUT": "xml"}, "list"},
		{map[string]string{"SPRINGTIDE_PAGE_SIZE": "x"}, "list"},
		{nil, "list --config nosuchfile.yaml"},
		{nil, "list --config " + odd},
		{nil, "list --config " + broken},
		{nil, "serve --config " + nested},
		{nil, "list --config " + secret},
		{nil, "list --log-level loud"},
		{nil, "version now"},
	} {
		p := &program{env: c.env}
		got := p.run(t.Context(), strings.Fields(c.line)...)
		if got.code != ExitUsage || got.out != "" || strings.Contains(got.err, "goroutine") {
			t.Errorf("%s: exit code %d, output %q", c.line, got.code, got.out)
		}
		for name, value := range c.env {
			fmt.Fprintf(&b, "%s=%s ", name, value)
		}
		fmt.Fprintf(&b, "$ springtide %s\n%s\n", c.line, got.err)
	}
	text := b.String()
	for _, path := range []string{odd, broken, nested, secret} {
		text = strings.ReplaceAll(text, path, "FILE")
	}
	golden(t, "usage", outcome{ExitUsage, text, ""})
}

func TestHelpOfEveryCommandHasAnExample(t *testing.T) {
	t.Parallel()
	a := &app{}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s lacks a summary or an example", c.CommandPath())
		}
		for _, line := range strings.Split(c.Long+"\n"+c.Example, "\n") {
			if textWidth(line) > 130 {
				t.Errorf("%s: a line of help is too long: %q", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	root := a.root()
	visit(root)
	for name := range allFlags(root) {
		if name != strings.ToLower(name) || strings.Contains(name, "_") {
			t.Errorf("flag --%s does not map to one name in the environment", name)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "file", "work", "keys create", "dev"} {
		p := &program{}
		name := "help"
		if line != "" {
			name += "." + strings.ReplaceAll(line, " ", ".")
		}
		golden(t, name, p.run(t.Context(), append(strings.Fields(line), "--help")...))
	}
}

func TestFlagsHaveOneMeaning(t *testing.T) {
	t.Parallel()
	kinds := make(map[string]string)
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			kind := strings.TrimSuffix(f.Value.Type(), "Slice") // one value suits a list of them too
			if old := kinds[f.Name]; old != "" && old != kind {
				t.Errorf("--%s is %s here and %s elsewhere", f.Name, kind, old)
			}
			kinds[f.Name] = kind
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{}).root())
	for _, name := range []string{"kafka", "redis", "authority", "grpc", "http", "admin", "data", "tenant", "role", "class", "latency", "quota", "faults"} {
		if kinds[name] == "" {
			t.Errorf("there is no --%s", name)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"file", "check", "status", "cancel"}
	for typed, want := range map[string]string{
		"fiel": "file", "stat": "status", "chek": "check", "CANCEL": "cancel", "x": "", "completely else": "",
		strings.Repeat("file", 100): "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", typed, got, want)
		}
	}
}
