package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages of all commands",
		Long: `Man writes a manual page for every command into a directory, made if need be:
springtide.1, springtide-serve.1 and so on. They say what --help says.`,
		Example: `  springtide man /usr/local/share/man/man1
  springtide man . && man ./springtide-serve.1`,
		Args: arguments(1, 1, "one DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.writeManual(cmd.Root(), args[0]) },
	}
}

func (a *app) writeManual(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("manual: %w", err)
	}
	info, ok := debug.ReadBuildInfo()
	built := buildTime(info, ok)
	header := &doc.GenManHeader{Section: "1", Source: "springtide " + versionOf(info, ok).Version, Manual: "Springtide", Date: &built}
	root.DisableAutoGenTag = true // the same build writes the same pages on every day
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("manual: %w", err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "springtide*.1"))
	if err == nil && len(pages) == 0 {
		err = errors.New("no page was written")
	}
	if err != nil {
		return fmt.Errorf("manual: %w", err)
	}
	fmt.Fprintf(a.ui.Err, "%s in %s\n", count(len(pages), "page is", "pages are"), dir)
	return nil
}

// buildTime is when the sources of this binary were committed; the epoch where it does not know.
func buildTime(info *debug.BuildInfo, ok bool) time.Time {
	if ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return time.Unix(0, 0).UTC()
}
