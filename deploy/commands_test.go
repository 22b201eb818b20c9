package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestMain removes what the tests built.
func TestMain(m *testing.M) {
	code := m.Run()
	if dir := os.Getenv(buildDir); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// buildDir names the directory with the binary.
const buildDir = "SPRINGTIDE_DEPLOY_BUILD"

// built is the binary as the image has it: static, without a path of this machine.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "springtide-deploy-")
	if err != nil {
		return "", err
	}
	_ = os.Setenv(buildDir, dir)
	path := filepath.Join(dir, "springtide")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/springtide") // as in the Dockerfile
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &os.PathError{Op: "build", Path: string(out), Err: err}
	}
	return path, nil
})

// help is what the program says about a command line; a flag that it does not know is an error.
func help(t *testing.T, args ...string) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append(args, "--help")...)
	cmd.Env = []string{"LANG=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("springtide %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestTheProgramKnowsEveryFlagOfTheChart(t *testing.T) {
	t.Parallel()
	all := rendered(t, full)
	var said strings.Builder
	for _, d := range all.deployments {
		said.WriteString(help(t, d.Spec.Template.Spec.Containers[0].Args...))
	}
	for _, p := range all.pods {
		said.WriteString(help(t, p.Spec.Containers[0].Args...))
	}
	for name := range all.configs["season-springtide"].Data {
		setting, ours := strings.CutPrefix(name, "SPRINGTIDE_")
		if flag := "--" + strings.ToLower(strings.ReplaceAll(setting, "_", "-")) + " "; ours && !strings.Contains(said.String(), flag) {
			t.Errorf("%s stands for no flag of any role", name)
		}
	}
}
