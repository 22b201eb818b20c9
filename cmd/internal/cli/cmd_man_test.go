package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand are the paths of all commands that a person is shown.
func everyCommand(cmd *cobra.Command) []string {
	all := []string{cmd.CommandPath()}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, everyCommand(c)...)
		}
	}
	return all
}

func TestEveryCommandHasAManualPage(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man", "man1")
	for range 2 { // a second time over the first
		if got := (&program{}).run(t.Context(), "man", dir); got.code != 0 || !strings.Contains(got.err, "pages are in "+dir) {
			t.Fatalf("%+v", got)
		}
	}
	commands := everyCommand((&app{}).root())
	if len(commands) < 30 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, path := range commands {
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(path, " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		name := strings.ReplaceAll(path, " ", "-") + " - "
		for _, want := range []string{".SH NAME", name, ".SH SYNOPSIS", `"Springtide"`, `"Jan 1970"`} {
			if !strings.Contains(string(page), want) {
				t.Errorf("the page of %s lacks %s", path, want)
			}
		}
	}
	if got := (&program{}).run(t.Context(), "man", filepath.Join(dir, "springtide.1")); got.code != 1 || !strings.Contains(got.err, "not a directory") {
		t.Errorf("into a file: %+v", got)
	}
}

func TestShellsComplete(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := (&program{}).run(t.Context(), "completion", shell); got.code != 0 || !strings.Contains(got.out, "springtide") {
			t.Errorf("%s: %+v", shell, got)
		}
	}
	for typed, want := range map[string]string{"work\x00": "validate", "doc": "doctor", "failures\x00re": "retry", "scale\x00--as\x00": "keda", "list\x00-o\x00": "json"} {
		got := (&program{}).run(t.Context(), append([]string{"__complete"}, strings.Split(typed, "\x00")...)...)
		if got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("%q: %+v, want %s", typed, got, want)
		}
	}
}
